"""Backbones with one fault each."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest import mock

from intermodal.api import RopeParameters, Step, Tree, kernels
from intermodal_gemma3.model import GemmaBackbone
from intermodal_llama3.model import LlamaBackbone
from intermodal_mistral.model import MistralBackbone


class DroppedBias(LlamaBackbone):
    """Queries without their bias."""

    def forward(self, w: Tree, step: Step) -> dict[str, Any]:
        name = "self_attn.q_proj"
        layers = [{**block, name: block[name]._replace(bias=None)} for block in w["layers"]]
        return super().forward({**w, "layers": layers}, step)


class WrongEpsilon(LlamaBackbone):
    """The epsilon of the default, whatever the config says."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(dataclasses.replace(config, rms_norm_eps=1e-6), *arguments, **options)


class SwappedNorms(LlamaBackbone):
    """The two norms of a block in each other's place."""

    def forward(self, w: Tree, step: Step) -> dict[str, Any]:
        one, other = "input_layernorm", "post_attention_layernorm"
        layers = [{**block, one: block[other], other: block[one]} for block in w["layers"]]
        return super().forward({**w, "layers": layers}, step)


class WrongRope(LlamaBackbone):
    """Rotary positions that are never stretched."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        plain = RopeParameters(rope_theta=config.rope.rope_theta)
        super().__init__(dataclasses.replace(config, rope=plain), *arguments, **options)


class StuckPositions(LlamaBackbone):
    """Positions counted from the start of each step."""

    def forward(self, w: Tree, step: Step) -> dict[str, Any]:
        step.positions = step.positions - step.positions[:, :1]
        return super().forward(w, step)


class MissingOffset(GemmaBackbone):
    """Norms that are multiplied with their weights as stored, without the 1 that Gemma adds."""

    def forward(self, w: Tree, step: Step) -> dict[str, Any]:
        with mock.patch.object(kernels, "offset_rms_norm", kernels.rms_norm):
            return super().forward(w, step)


class WideWindow(MistralBackbone):
    """A window of one token more than the config says."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        wider = dataclasses.replace(config, sliding_window=config.sliding_window + 1)
        super().__init__(wider, *arguments, **options)
