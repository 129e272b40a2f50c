"""The index of the largest of many, in two steps: XLA's own compares one by one, which a CPU takes much longer for."""

from __future__ import annotations

from typing import Any

from intermodal.kernels import reference
from intermodal.kernels.ops import ops

Tensor = Any

BLOCK = 256
"""Values of which first the largest is found, as vectors can; only in the block that has it is looked for where."""


def argmax(x: Tensor) -> Tensor:
    """As `reference.argmax`."""
    width = x.shape[-1]
    whole = 0 if width is None else width // BLOCK * BLOCK
    if whole < 4 * BLOCK:
        return reference.argmax(x)
    blocks = ops.reshape(x[:, :whole], (-1, whole // BLOCK, BLOCK))
    largest = ops.max(blocks, axis=-1)
    block = reference.argmax(largest)
    values = ops.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    found = block * BLOCK + reference.argmax(values)
    if whole == width:
        return found
    rest = x[:, whole:]
    first = ops.max(largest, axis=-1)
    later = ops.logical_not(ops.logical_or(ops.max(rest, axis=-1) <= first, ops.isnan(first)))  # NaN is the largest
    return ops.where(later, whole + reference.argmax(rest), found)
