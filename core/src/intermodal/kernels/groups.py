"""Weights of small integers with a scale for each group of a row: the values that they stand for, on every backend."""

from __future__ import annotations

from typing import Any

from intermodal.kernels.ops import ops

Tensor = Any


def in_groups(weight: Tensor, scale: Tensor | None, minimum: Tensor | None) -> bool:
    """Whether the scales are those of groups: several in a row, or a minimum beside each, or integers of 4 bits."""
    return scale is not None and (minimum is not None or scale.shape[-1] > 1 or "uint8" in str(weight.dtype))


def widen_groups(weight: Tensor, scale: Tensor, minimum: Tensor | None, dtype: Any) -> Tensor:
    """`integer * scale + minimum`, computed in float32.

    Args:
        weight: (…, in) int8; or (…, in / 2) uint8, two integers in a byte. There a group is 32 columns in 16 bytes, of
            which the first 16 are in the low halves; they are 0 to 15 with a minimum, and -8 to 7 without, stored 8
            higher. That is how GGUF's blocks have them.
        scale, minimum: (…, groups), of any float dtype.
        dtype: of the result.

    Returns:
        (…, in).
    """
    lead, groups = tuple(ops.shape(weight))[:-1], scale.shape[-1]
    integers = ops.reshape(weight, (*lead, groups, weight.shape[-1] // groups))
    if "uint8" in str(weight.dtype):
        halves = ops.bitwise_and(integers, 15), ops.right_shift(integers, 4)
        integers = ops.cast(ops.concatenate(halves, axis=-1), "float32")
        if minimum is None:
            integers = integers - 8.0
    values = ops.cast(integers, "float32") * ops.cast(scale, "float32")[..., None]
    if minimum is not None:
        values = values + ops.cast(minimum, "float32")[..., None]
    return ops.cast(ops.reshape(values, (*lead, groups * values.shape[-1])), dtype)
