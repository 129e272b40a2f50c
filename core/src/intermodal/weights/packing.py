"""Matrices held as small integers, with a scale for each group of a row: their arrays, and both ways between values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from intermodal.errors import WeightError
from intermodal.weights.memory import aligned_empty

GROUP = 32
"""Columns of a group in what is packed here; two 4-bit integers can share a byte in groups of as many only."""

Packed = Mapping[str, np.ndarray]
"""The arrays of one matrix by the fields of a `kernels.Bundle`: `weight`, `scale` and perhaps `minimum`."""

_AT_ONCE = 4 << 20  # values that are packed or widened at a time


@dataclass(frozen=True)
class Packing:
    """How a matrix (out, in) is held: `integer * scale + minimum`, as `kernels.Bundle` has it.

    Attributes:
        bits: 8: signed. 4: two in a byte; 0 to 15 with a minimum, else -8 to 7, stored 8 higher.
        group: columns that share a scale; None: all of a row.
        minimum: whether something is added behind the scale.
        scale_dtype: of scale and minimum.
    """

    bits: int
    group: int | None = None
    minimum: bool = False
    scale_dtype: str = "float32"

    def parts(self, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, int], str]]:
        """Shape and dtype of each array of a matrix of `shape`, by its field."""
        outputs, inputs = shape
        scales = (outputs, inputs // (self.group or inputs)), self.scale_dtype
        weight = (outputs, inputs * self.bits // 8), "int8" if self.bits == 8 else "uint8"
        return {"weight": weight, "scale": scales, **({"minimum": scales} if self.minimum else {})}

    def empty(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Uninitialised arrays for a matrix of `shape`."""
        return {field: aligned_empty(*part) for field, part in self.parts(shape).items()}

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of the arrays of a matrix of `shape`."""
        return sum(int(np.prod(size)) * np.dtype(dtype).itemsize for size, dtype in self.parts(shape).values())

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether rows of a matrix of `shape` are whole groups."""
        return len(shape) == 2 and shape[1] % (self.group or 1) == 0

    def to_dict(self) -> dict[str, Any]:
        """The arguments that make the same packing."""
        return asdict(self)


INT8 = Packing(8)
INT4 = Packing(4, GROUP, minimum=True, scale_dtype="float16")
MODES = {"int8": INT8, "int4": INT4}
"""What `quantize` makes of a matrix, by its mode."""


def packing_for(mode: str, shape: tuple[int, ...]) -> Packing:
    """What a mode makes of a matrix of `shape`: rows that are no whole groups get 8 bits and one scale."""
    return MODES[mode] if MODES[mode].fits(shape) else INT8


def widened(arrays: Packed) -> np.ndarray:
    """The float32 values that packed arrays stand for: `kernels.groups.widen_groups` on the host."""
    weight, scale, minimum = arrays["weight"], arrays["scale"], arrays.get("minimum")
    outputs, groups = scale.shape
    values = np.empty((outputs, weight.shape[1] * (2 if weight.dtype == np.uint8 else 1)), np.float32)
    rows = max(1, _AT_ONCE // max(1, values.shape[1]))
    for start in range(0, outputs, rows):
        part = slice(start, start + rows)
        integers = weight[part].reshape(-1, groups, weight.shape[1] // groups)
        if weight.dtype == np.uint8:
            integers = np.concatenate([integers & 15, integers >> 4], axis=-1).astype(np.float32)
            integers -= 0 if minimum is not None else 8
        wide = integers * scale[part, :, None].astype(np.float32)
        if minimum is not None:
            wide += minimum[part, :, None].astype(np.float32)
        values[part] = wide.reshape(wide.shape[0], -1)
    return values


def packed(values: np.ndarray, packing: Packing, name: str) -> dict[str, np.ndarray]:
    """Round a matrix to `packing`, half to even, a few rows at a time.

    Without a minimum a group's scale is its largest magnitude over 127; with one, its 16 steps go from its least value
    to its largest.

    Args:
        values: (out, in), of any float dtype.
        packing: of 8 bits without, or 4 bits with a minimum.
        name: of the weight, for the error.

    Raises:
        WeightError: a scale is beyond the packing's dtype, or the values are not finite; says which.
    """
    arrays = packing.empty(values.shape)
    rows = max(1, _AT_ONCE // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = slice(start, start + rows)
        wide = np.asarray(values[part], np.float32)
        wide = wide.reshape(len(wide), arrays["scale"].shape[1], -1)
        with np.errstate(over="ignore"):
            _pack(wide, {field: array[part] for field, array in arrays.items()}, packing)
        if not all(np.isfinite(arrays[field][part]).all() for field in arrays if field != "weight"):
            if np.isfinite(wide).all():
                raise WeightError(
                    f"{name} holds values that are too large for scales in {packing.scale_dtype}: "
                    'use quantize("int8"), which has wider ones.'
                )
            raise WeightError(f"{name} holds values that are not finite, which no integers stand for.")
    return arrays


def _pack(wide: np.ndarray, arrays: dict[str, np.ndarray], packing: Packing) -> None:
    """Fill the arrays of rows `wide` (rows, groups, columns of a group)."""
    if not packing.minimum:
        step = np.abs(wide).max(axis=-1) / 127
        arrays["scale"][:] = np.where(step == 0, 1, step)
        arrays["weight"][:] = np.rint(wide / arrays["scale"][..., None]).reshape(len(wide), -1)
        return
    least = wide.min(axis=-1)
    step = (wide.max(axis=-1) - least) / 15
    arrays["scale"][:] = step
    arrays["minimum"][:] = least
    # Rounded to the scales as they are stored: they are what the integers will meet.
    scale, minimum = (arrays[field][..., None].astype(np.float32) for field in ("scale", "minimum"))
    steps = np.divide(wide - minimum, scale, out=np.zeros_like(wide), where=scale != 0)
    integers = np.clip(np.rint(np.nan_to_num(steps)), 0, 15).astype(np.uint8)
    half = integers.shape[-1] // 2
    arrays["weight"][:] = (integers[..., :half] | integers[..., half:] << 4).reshape(len(wide), -1)
