"""Configs with one fault each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from intermodal.api import fields
from intermodal_llama3.config import LlamaConfig


@dataclass(frozen=True, kw_only=True)
class IgnoredField(LlamaConfig):
    """A field that shapes the model is called inert."""

    inert_keys: ClassVar[Mapping[str, str]] = {**LlamaConfig.inert_keys, "mlp_bias": "nobody uses it"}

    @classmethod
    def checks(cls) -> dict[str, fields.Check]:
        return {name: check for name, check in super().checks().items() if name != "mlp_bias"}


@dataclass(frozen=True, kw_only=True)
class OverlookedField(LlamaConfig):
    """A field that is in no table."""

    @classmethod
    def checks(cls) -> dict[str, fields.Check]:
        return {name: check for name, check in super().checks().items() if name != "attention_bias"}


@dataclass(frozen=True, kw_only=True)
class WrongDefault(LlamaConfig):
    """A default that is not transformers'."""

    intermediate_size: int = fields.size(8192, most=1 << 22)
