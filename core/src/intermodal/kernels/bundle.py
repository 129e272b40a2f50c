"""The tensors of one linear, embedding or norm, and the norm before a linear, as kernels take them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Bundle(NamedTuple):
    """What belongs to one module. Tensors of the running backend; absent parts are None.

    Attributes:
        weight: (out, in) of a linear, (rows, width) of an embedding, (width,) of a norm; may be narrower than computed.
            Of 4 bits it is (out, in / 2) uint8, as `groups.widen_groups` has it.
        bias: (out,).
        scale: (out, 1), float32: the weight is an integer times this. Or (out, groups), float32 or float16: each group
            of a row's columns, all equally wide, has its own.
        minimum: as scale, of groups: what is added to the integer times its scale.
        lora_a: (rank, in), with `lora_b` (out, rank): an update `lora_b @ lora_a * lora_scale`, as PEFT has it.
        lora_scale: alpha / rank.
        prepared: weight, scale and minimum once more as compiled kernels take them, by `kernels.prepare`.
    """

    weight: Any
    bias: Any = None
    scale: Any = None
    lora_a: Any = None
    lora_b: Any = None
    lora_scale: Any = None
    minimum: Any = None
    prepared: Any = None


class Norm(NamedTuple):
    """A root-mean-square norm of what goes into a linear, as `kernels.rms_norm` has it.

    Attributes:
        w: its weight (in,).
        epsilon: added to the mean square.
        offset: it is times `1 + weight`, as in `kernels.offset_rms_norm`.
    """

    w: Bundle
    epsilon: float
    offset: bool = False
