"""Narrow storage of weights: integers times one scale a row, computed in floats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.errors import WeightError
from intermodal.weights.memory import aligned_empty, from_backend, to_backend

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

MODES = ("int8",)


def quantize(model: TaskModel, mode: str, **options: Any) -> None:
    """Store every linear and embedding as int8 with one float32 scale a row, one tensor at a time.

    Symmetric and weight-only: `weight = integer * scale`, `scale = max|row| / 127`. Activations stay floats, so the
    result is that of the rounded weights computed exactly. Quantised weights are frozen; LoRA on top of them trains.

    Raises:
        WeightError: another mode or option is asked for, it was done before, or LoRA updates would be lost.
    """
    if mode not in MODES or options:
        extra = f" with {sorted(options)}" if options else ""
        raise WeightError(f'quantize({mode!r}){extra} is not supported; supported: quantize("int8").')
    if model.quantization is not None:
        raise WeightError(f"The model is already quantised ({model.quantization}).")
    if model.adapter is not None:
        raise WeightError(
            "Quantise first and enable LoRA after, as quantising now would change what LoRA was trained on; or call "
            "merge_adapter() first, which makes it part of the weights."
        )
    for part in model.parts():
        for variable in part.declared:
            if variable.role in ("linear", "embedding"):
                narrow, scale = int8_rows(from_backend(part.by_name[variable.name].value))
                part.replace_variable(variable.name, to_backend(narrow), "int8", trainable=False)
                part.replace_variable(f"{variable.name}.scale", to_backend(scale), "float32", trainable=False)
    model.quantization = mode


def restore_quantized(model: TaskModel, dtypes: dict[str, str], mode: str) -> None:
    """Add blank scales beside int8 variables, before their values are read from a `.keras` file."""
    for part in model.parts():
        for variable in part.declared:
            if dtypes.get(variable.name) == "int8":
                blank = to_backend(np.zeros((variable.shape[0], 1), np.float32))
                part.replace_variable(f"{variable.name}.scale", blank, "float32", trainable=False)
    model.quantization = mode


def int8_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers of the same shape (rows, width) and scales (rows, 1), rounding half to even. Works by chunks of rows."""
    narrow = aligned_empty(values.shape, "int8")
    scale = aligned_empty((len(values), 1), "float32")
    rows = max(1, (4 << 20) // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        wide = np.asarray(values[start : start + rows], np.float32)
        step = np.abs(wide).max(axis=1, keepdims=True) / 127
        scale[start : start + rows] = np.where(step == 0, 1, step)
        narrow[start : start + rows] = np.rint(wide / scale[start : start + rows])
    return narrow, scale
