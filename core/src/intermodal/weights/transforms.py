"""Invertible changes of a tensor's values between a checkpoint and a variable.

A transform without an inverse cannot be written: both directions are abstract. They work on numpy arrays of any dtype
and keep the dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np


class Transform(ABC):
    """One change of values. `load` goes from the checkpoint to the variable, `export` back.

    Attributes:
        keeps_rows: each row of the variable is a row of the checkpoint, unchanged; so it serves rows that are packed.
    """

    keeps_rows: ClassVar[bool] = False

    @abstractmethod
    def load(self, values: np.ndarray) -> np.ndarray:
        """Values as the variable holds them."""

    @abstractmethod
    def export(self, values: np.ndarray) -> np.ndarray:
        """Values as the checkpoint holds them: the exact inverse of `load`."""

    @abstractmethod
    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in the checkpoint of a variable (or part of one) of this shape."""


@dataclass(frozen=True)
class Identity(Transform):
    """Values are stored as they are used. Such tensors are read in place, without a copy."""

    keeps_rows = True

    def load(self, values: np.ndarray) -> np.ndarray:
        return values

    def export(self, values: np.ndarray) -> np.ndarray:
        return values

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


IDENTITY = Identity()


@dataclass(frozen=True)
class Permute(Transform):
    """Axes in another order. `axes` has numpy's meaning: axis i of the variable is axis `axes[i]` of the checkpoint."""

    axes: tuple[int, ...]

    def load(self, values: np.ndarray) -> np.ndarray:
        return values.transpose(self.axes)

    def export(self, values: np.ndarray) -> np.ndarray:
        return values.transpose(self._inverse())

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[axis] for axis in self._inverse())

    def _inverse(self) -> tuple[int, ...]:
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))


@dataclass(frozen=True)
class Flatten(Transform):
    """All axes but the first become one; `stored` is the shape in the checkpoint.

    A convolution whose kernel is as wide as its stride is a linear of patches: (out, in, height, width) becomes
    (out, in * height * width).
    """

    stored: tuple[int, ...]

    def load(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)

    def export(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(self.stored)

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.stored


@dataclass(frozen=True)
class Deinterleave(Transform):
    """Rotary pairs stored side by side (x0 y0 x1 y1 …) become two halves (x0 x1 … y0 y1 …), head by head.

    Meta's own files and GGUF keep q and k projections with interleaved pairs; Hugging Face files, and the rotary kernel
    here, have the halves. Rows (the first axis) are permuted, so it serves weights `(heads * head_dim, in)` and biases.
    """

    heads: int
    keeps_rows = True

    def load(self, values: np.ndarray) -> np.ndarray:
        return self._swap(values, (self.heads, -1, 2))

    def export(self, values: np.ndarray) -> np.ndarray:
        return self._swap(values, (self.heads, 2, -1))

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def _swap(self, values: np.ndarray, split: tuple[int, int, int]) -> np.ndarray:
        return values.reshape(*split, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


@dataclass(frozen=True)
class AddConstant(Transform):
    """The variable is what is stored plus a constant. Both directions round once, in the dtype of the values.

    GGUF files hold some norms with 1 added, in float32. That was added to bfloat16 or float16, so it comes off again
    without a trace where the sum fits float32.
    """

    constant: float

    def load(self, values: np.ndarray) -> np.ndarray:
        return values + values.dtype.type(self.constant)

    def export(self, values: np.ndarray) -> np.ndarray:
        return values - values.dtype.type(self.constant)

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape
