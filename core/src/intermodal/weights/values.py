"""The values a model's weights stand for: adapters merged, narrow storage widened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from intermodal.dtypes import numpy_dtype
from intermodal.layers.parameters import Parameters
from intermodal.weights.map import Weight
from intermodal.weights.memory import from_backend
from intermodal.weights.packing import widened

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

_AT_ONCE = 1 << 20  # values that are looked at at a time


def exported_dtypes(model: TaskModel) -> dict[str, str]:
    """The float dtype that each variable is written in.

    That is its own, or the compute dtype where it is packed. Those that loading widened are written as the checkpoint
    had them as long as that loses nothing: unless one was trained since, or has a LoRA update.
    """
    plain = {
        variable.name: str(part.by_name[variable.name].dtype)
        for part in model.parts()
        for variable in part.declared
        if variable.name not in part.packings
    }
    packed = {name: model.compute_dtype for part in model.parts() for name in part.packings}
    before = {name: kind for name, kind in model.checkpoint_dtypes.items() if plain.get(name) == "float32"}
    if model.adapter is None and all(_holds(model, name, kind) for name, kind in before.items()):
        plain.update(before)
    return plain | packed


def weight_values(model: TaskModel, weight: Weight, dtype: str) -> np.ndarray:
    """One weight's values, of its own shape and in `dtype`: a view where nothing was added to it."""
    part, name = _owner(model, weight.variable), weight.variable
    values, extras = from_backend(part.by_name[name].value), _extras(part, name)
    if name in part.packings:
        values = widened({"weight": values, **{field: extras[field] for field in extras.keys() & {"scale", "minimum"}}})
    if "lora_a" in extras:
        values = np.asarray(values, np.float32) + (extras["lora_b"] @ extras["lora_a"]) * extras["lora_scale"]
    values = values if weight.place is None else values[weight.place[1].index()]
    return values.astype(numpy_dtype(dtype), copy=False)


def _holds(model: TaskModel, name: str, dtype: str) -> bool:
    """Whether a dtype holds the values of a float32 variable exactly. Looks at some of them at a time."""
    values = from_backend(_owner(model, name).by_name[name].value).reshape(-1)
    pieces = (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
    with np.errstate(over="ignore"):
        return all((piece.astype(numpy_dtype(dtype)) == piece).all() for piece in pieces)


def _extras(part: Parameters, variable: str) -> dict[str, np.ndarray]:
    declared = next(v for v in part.declared if v.name == variable)
    return {field: from_backend(tensor) for field, tensor in part.extras(declared).items()}


def _owner(model: TaskModel, variable: str) -> Parameters:
    return next(part for part in model.parts() if variable in part.by_name)
