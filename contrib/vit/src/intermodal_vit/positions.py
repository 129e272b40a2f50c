"""A table of positions, stretched to a grid of patches that the model was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from intermodal.api import InputError, ops

Tensor = Any

SHARPNESS = -0.75
"""The free coefficient of cubic convolution (Keys, 1981), as PyTorch has it; other libraries take -0.5."""


def resized(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions of another grid, bicubic and without smoothing, as PyTorch's `interpolate` has it.

    Args:
        table: (1, 1 + patches, hidden), the class token's position first, which stays.
        old, new: rows and columns of patches.

    Raises:
        InputError: the model's own grid is no square, or an image is smaller than a patch.
    """
    if old[0] != old[1]:
        raise InputError(
            f"The model has positions for a grid of {old[0]} x {old[1]} patches, and only those of a square can be "
            "interpolated: resize images to the model's own size."
        )
    if 0 in new:
        raise InputError("An image is smaller than a patch: resize it first.")
    width = table.shape[-1]
    grid = ops.reshape(table[:, 1:], (*old, width))
    down, across = (ops.convert_to_tensor(cubic(a, b), dtype=table.dtype) for a, b in zip(old, new, strict=True))
    grid = ops.einsum("yi,ijd->yjd", down, grid)
    grid = ops.einsum("xj,yjd->yxd", across, grid)
    return ops.concatenate([table[:, :1], ops.reshape(grid, (1, new[0] * new[1], width))], axis=1)


def cubic(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of a cubic convolution along one axis; beyond the ends, the last value counts on. float32."""
    place = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(place).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        index = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), index), kernel(np.abs(place - (first + tap))))
    return weights.astype(np.float32)


def kernel(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel at distances from 0 to 2, in samples."""
    a, d = SHARPNESS, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
