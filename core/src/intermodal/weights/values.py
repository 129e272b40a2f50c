"""The values a model's weights stand for: adapters merged, narrow storage widened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from intermodal.dtypes import numpy_dtype
from intermodal.layers.parameters import Parameters
from intermodal.weights.map import Weight
from intermodal.weights.memory import from_backend

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


def exported_dtype(model: TaskModel, variable: str) -> str:
    """The float dtype a variable is written in: its own, or the compute dtype where it is stored in integers."""
    stored = str(_owner(model, variable).by_name[variable].dtype)
    return model.compute_dtype if stored == "int8" else stored


def weight_values(model: TaskModel, weight: Weight) -> np.ndarray:
    """One weight's values, of its own shape: a view where nothing was added to it."""
    part = _owner(model, weight.variable)
    values = from_backend(part.by_name[weight.variable].value)
    kind = numpy_dtype(exported_dtype(model, weight.variable))
    extras = {field: from_backend(tensor) for field, tensor in _extras(part, weight.variable).items()}
    if extras:
        wide = np.asarray(values, np.float32) * extras.get("scale", np.float32(1))
        if "lora_a" in extras:
            wide = wide + (extras["lora_b"] @ extras["lora_a"]) * extras["lora_scale"]
        values = wide.astype(kind)
    return values if weight.place is None else values[weight.place[1].index()]


def _extras(part: Parameters, variable: str) -> dict[str, object]:
    declared = next(v for v in part.declared if v.name == variable)
    return part.extras(declared)


def _owner(model: TaskModel, variable: str) -> Parameters:
    return next(part for part in model.parts() if variable in part.by_name)
