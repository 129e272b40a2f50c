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


def exported_dtype(model: TaskModel, variable: str) -> str:
    """The float dtype a variable is written in: its own, or the compute dtype where it is packed."""
    part = _owner(model, variable)
    return model.compute_dtype if variable in part.packings else str(part.by_name[variable].dtype)


def weight_values(model: TaskModel, weight: Weight) -> np.ndarray:
    """One weight's values, of its own shape: a view where nothing was added to it."""
    part = _owner(model, weight.variable)
    name, kind = weight.variable, numpy_dtype(exported_dtype(model, weight.variable))
    values, extras = from_backend(part.by_name[name].value), _extras(part, name)
    if name in part.packings:
        values = widened({"weight": values, **{field: extras[field] for field in extras.keys() & {"scale", "minimum"}}})
    if "lora_a" in extras:
        values = np.asarray(values, np.float32) + (extras["lora_b"] @ extras["lora_a"]) * extras["lora_scale"]
    values = values.astype(kind, copy=False)
    return values if weight.place is None else values[weight.place[1].index()]


def _extras(part: Parameters, variable: str) -> dict[str, np.ndarray]:
    declared = next(v for v in part.declared if v.name == variable)
    return {field: from_backend(tensor) for field, tensor in part.extras(declared).items()}


def _owner(model: TaskModel, variable: str) -> Parameters:
    return next(part for part in model.parts() if variable in part.by_name)
