"""Low-rank updates of a tensor: what they add to its values, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Update:
    """A LoRA update of one tensor (arXiv:2106.09685), all in float32.

    Attributes:
        a: (rank, in); of an embedding (rank, rows of the table).
        b: (out, rank); of an embedding (width, rank).
        scale: what the product counts.
        swapped: the tensor is (in, out), as an embedding's table is in PEFT's eyes.
        lengths: DoRA's, (out,): each row of weight and update together gets this length (arXiv:2402.09353).
    """

    a: np.ndarray
    b: np.ndarray
    scale: float
    swapped: bool = False
    lengths: np.ndarray | None = None

    def applied(self, values: np.ndarray, row: int = 0) -> np.ndarray:
        """Values of a tensor with the update, in their own dtype.

        Args:
            values: all of them, or rows.
            row: which row of the tensor the first of them is.
        """
        rows = slice(row, row + len(values))
        delta = (self.a.T[rows] @ self.b.T if self.swapped else self.b[rows] @ self.a) * np.float32(self.scale)
        wide = np.asarray(values, np.float32) + delta
        if self.lengths is not None:
            wide *= (self.lengths[rows] / np.linalg.norm(wide, axis=1))[:, None]
        return wide.astype(values.dtype)
