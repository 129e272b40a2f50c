"""Narrow storage of weights that were loaded: integers times scales, computed in floats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.errors import WeightError
from intermodal.layers.parameters import Parameters, field_name
from intermodal.weights.memory import from_backend, to_backend
from intermodal.weights.packing import MODES, packed, packing_for

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel
    from intermodal.weights.map import Variable


def quantize(model: TaskModel, mode: str, **options: Any) -> None:
    """Store every linear and embedding in fewer bits, one tensor at a time.

    `"int8"` has one float32 scale a row: `weight = integer * scale`, `scale = max|row| / 127`. `"int4"` has a float16
    scale and a minimum for each group of 32 columns, `weight = integer * scale + minimum`, 5 bits a weight in all; a
    matrix whose rows are no whole groups gets 8 bits. A minimum costs half a bit more than a scale alone, and leaves a
    smaller error, because the 16 steps of a group lie where its values are.

    Weight-only: activations stay floats, so the result is that of the rounded weights computed exactly. Quantised
    weights are frozen; LoRA on top of them trains.

    Raises:
        WeightError: another mode or option is asked for, it was done before, or LoRA updates would be lost.
    """
    if mode not in MODES or options:
        extra = f" with {sorted(options)}" if options else ""
        known = ", ".join(f'quantize("{name}")' for name in MODES)
        raise WeightError(f"quantize({mode!r}){extra} is not supported; supported: {known}.")
    if model.quantization is not None:
        raise WeightError(
            f"The model is already quantised ({model.quantization}). To quantise the values that its weights stand "
            f'for: load(…, dtype="float32").quantize("{mode}").'
        )
    if model.adapter is not None:
        raise WeightError(
            "Quantise first and enable LoRA after, as quantising now would change what LoRA was trained on; or call "
            "merge_adapter() first, which makes it part of the weights."
        )
    model.drop_programs()
    for part in model.parts():
        for variable in part.declared:
            if variable.role in ("linear", "embedding"):
                _pack(part, variable, mode)
    model.quantization = mode


def check_trainable(model: TaskModel) -> None:
    """Refuse to train a model of which only norms and biases would learn, because all its matrices are packed.

    Raises:
        WeightError: says how to train it.
    """
    matrices = [
        part.by_name[v.name] for part in model.parts() for v in part.declared if v.role in ("linear", "embedding")
    ]
    if model.quantization and model.adapter is None and not any(variable.trainable for variable in matrices):
        raise WeightError(
            f"The weights are stored as {model.quantization}, which cannot be trained: load with "
            'dtype="float32", or call enable_lora(rank) to train updates on top of them.'
        )


def _pack(part: Parameters, variable: Variable, mode: str) -> None:
    packing = packing_for(mode, variable.shape)
    values = from_backend(part.by_name[variable.name].value)
    for field, array in packed(values, packing, variable.name).items():
        part.replace_variable(field_name(variable.name, field), to_backend(array), array.dtype.name, trainable=False)
    part.packings[variable.name] = packing
