"""Typed access to key-value metadata whose keys begin with the architecture's name, as GGUF's do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from intermodal.checkpoints.base import Checkpoint
from intermodal.errors import ConfigError

Value = TypeVar("Value", int, float, str, bool, list)
Default = TypeVar("Default")

_SHARED = ("general.", "tokenizer.", "split.", "adapter.")
_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", list: "a list"}


class Metadata:
    """The metadata of one checkpoint, read key by key with the type that is expected.

    Keys are given without the architecture (`"attention.head_count"` is looked up as `arch.attention.head_count`),
    except those all architectures share (`general.`, `tokenizer.`, …).

    Args:
        values: key → value, as `Checkpoint.metadata` has them.
        arch: the architecture that keys begin with.
        file: what messages name.

    Example:
        metadata = Metadata.of(checkpoint)
        hidden = metadata.need("embedding_length")
        theta = metadata.get("rope.freq_base", 10000.0, float)
    """

    def __init__(self, values: Mapping[str, Any], arch: str, file: str) -> None:
        self.values = values
        self.arch = arch
        self.file = file

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Metadata:
        """The metadata of an open checkpoint whose `family_key` is `<format>.<architecture>`."""
        return cls(checkpoint.metadata, checkpoint.family_key.partition(".")[2], checkpoint.repository.uri)

    def key(self, name: str) -> str:
        """The key as the file spells it."""
        return name if name.startswith(_SHARED) else f"{self.arch}.{name}"

    def __contains__(self, name: str) -> bool:
        return self.key(name) in self.values

    def need(self, name: str, kind: type[Value] = int, *, least: float | None = None) -> Value:
        """A value that has to be there.

        Args:
            name: the key, without the architecture.
            kind: `int`, `float` (integers are taken too), `str`, `bool` or `list`. A list of one number for each
                layer is taken as that number where all are equal.
            least: the smallest number allowed.

        Raises:
            ConfigError: missing, of another type, not finite, or below `least`; names file, key and value.
        """
        if name not in self:
            raise ConfigError(
                f"{self.file}: the key {self.key(name)} is missing, and the model cannot be built without it; convert "
                "the original model again with a current converter."
            )
        return self._checked(name, self.values[self.key(name)], kind, least)

    def get(
        self, name: str, default: Default = None, kind: type[Value] = int, *, least: float | None = None
    ) -> Value | Default:
        """A value, or `default` where the file has none. Arguments and errors are those of `need`."""
        return self.need(name, kind, least=least) if name in self else default

    def _checked(self, name: str, value: Any, kind: type[Any], least: float | None) -> Any:
        found = value if kind is list or not isinstance(value, list) else self._alike(name, value)
        # bool is an int in Python, and is one nowhere else.
        fits = isinstance(found, int | float if kind is float else kind)
        if not fits or (isinstance(found, bool) and kind is not bool):
            raise ConfigError(f"{self.file}: {self.key(name)} is {str(found)[:80]!r}, expected {_WORDS[kind]}.")
        if kind is float:
            found = float(found)
            if not math.isfinite(found):
                raise ConfigError(f"{self.file}: {self.key(name)} is {found}, expected a finite number.")
        if least is not None and found < least:
            raise ConfigError(f"{self.file}: {self.key(name)} is {found}, expected at least {least}.")
        return found

    def _alike(self, name: str, values: list[Any]) -> Any:
        """The one value that all layers have."""
        if not values or any(value != values[0] for value in values):
            raise ConfigError(
                f"{self.file}: {self.key(name)} differs between layers ({str(values)[:80]}), and only models whose "
                "layers are alike are built."
            )
        return values[0]
