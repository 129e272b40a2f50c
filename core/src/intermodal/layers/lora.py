"""LoRA: low-rank updates to linears, trained while everything else is frozen (arXiv:2106.09685).

Tensors are laid out as PEFT has them: `lora_A` (rank, in) and `lora_B` (out, rank), the update being
`lora_B @ lora_A * alpha / rank`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.dtypes import is_float
from intermodal.errors import WeightError
from intermodal.layers.parameters import Parameters, module_of
from intermodal.tasks import LANGUAGE_TASKS
from intermodal.weights.map import Variable
from intermodal.weights.memory import from_backend, to_backend

if TYPE_CHECKING:
    from intermodal.adapters.updates import Update
    from intermodal.tasks.base import TaskModel


def enable_lora(
    model: TaskModel,
    rank: int,
    targets: Sequence[str] | None = None,
    *,
    alpha: float | None = None,
    seed: int | None = None,
) -> None:
    """Freeze the model and give every targeted linear a trainable update, which is zero at first.

    Args:
        model: any task.
        rank: of the update, at least 1.
        targets: last parts of module names (`["q_proj", "v_proj"]`), or whole names. None: every linear of the
            backbone. The head of a classification task stays trainable, since it is usually new.
        alpha: the update counts `alpha / rank`; default `rank`, so 1.
        seed: of the random start of `lora_A`.

    Raises:
        WeightError: LoRA is on already, rank is not positive, or a target names no linear.
    """
    if model.adapter is not None:
        raise WeightError("LoRA is already enabled on this model; load it again to start with another rank.")
    if not isinstance(rank, int) or rank < 1:
        raise WeightError(f"rank={rank!r}: LoRA needs a whole number of at least 1.")
    chosen = [(part, v) for part, v in _linears(model) if part is model.backbone or targets is not None]
    chosen = [(part, v) for part, v in chosen if targets is None or _targeted(v.name, targets)]
    unknown = [t for t in targets or () if not any(_targeted(v.name, [t]) for _, v in chosen)]
    if unknown or not chosen:
        names = sorted({module_of(v.name)[0].rpartition(".")[2] for _, v in _linears(model)})
        raise WeightError(f"targets {unknown or targets}: no linear has that name. Linears are: {', '.join(names)}.")
    scale = (rank if alpha is None else alpha) / rank
    model.drop_programs()
    _freeze(model)
    random = np.random.default_rng(seed)
    for part, variable in chosen:
        outputs, inputs = variable.shape
        part.by_name[variable.name].trainable = False
        start = random.uniform(-1, 1, (rank, inputs)).astype(np.float32) * np.float32(np.sqrt(3 / inputs))
        _add(part, variable.name, start, np.zeros((outputs, rank), np.float32), scale)
    model.adapter = {"modules": {v.name: {"rank": rank, "scale": scale} for _, v in chosen}}


def add_updates(model: TaskModel, updates: Mapping[str, Update]) -> None:
    """Put a loaded adapter's updates beside their weights, which are frozen as `enable_lora` does it."""
    _freeze(model)
    for part in model.parts():
        for name in [variable.name for variable in part.declared if variable.name in updates]:
            update = updates[name]
            part.by_name[name].trainable = False
            _add(part, name, update.a, update.b, update.scale)
    model.adapter = {"modules": {n: {"rank": len(u.a), "scale": u.scale} for n, u in updates.items()}}


def merge(model: TaskModel) -> None:
    """Add every update to its weight, in the weight's dtype, and let everything be trained again.

    Raises:
        WeightError: there is no update, or the weights are quantised.
    """
    from intermodal.adapters.updates import Update

    if model.adapter is None:
        raise WeightError("The model has no adapter: load one with load(model, adapter=…), or call enable_lora.")
    if model.quantization is not None:
        raise WeightError(
            f"The weights are stored as {model.quantization}, which would round the update away: save_pretrained "
            "writes them merged, as floats."
        )
    model.drop_programs()
    for part in model.parts():
        for variable in part.declared:
            if variable.name in model.adapter["modules"]:
                extras = {name: from_backend(value) for name, value in part.extras(variable).items()}
                weight = part.by_name[variable.name]
                update = Update(extras["lora_a"], extras["lora_b"], float(extras["lora_scale"]))
                weight.assign(to_backend(update.applied(np.array(from_backend(weight.value)))))
                for field in ("lora_a", "lora_b", "lora_scale"):
                    part.remove_variable(f"{variable.name}.{field}")
        for weight in part.by_name.values():
            weight.trainable = is_float(str(weight.dtype))
    model.adapter = None


def restore_lora(model: TaskModel, adapter: dict[str, Any]) -> None:
    """Add blank LoRA variables as `adapter` describes them, before their values are read from a `.keras` file."""
    _freeze(model)
    for part, variable in _linears(model):
        own = adapter["modules"].get(variable.name)
        if own is not None:
            part.by_name[variable.name].trainable = False
            outputs, inputs = variable.shape
            blank = np.zeros((own["rank"], inputs), np.float32), np.zeros((outputs, own["rank"]), np.float32)
            _add(part, variable.name, *blank, own["scale"])
    model.adapter = dict(adapter)


def _freeze(model: TaskModel) -> None:
    """Freeze what was pretrained: all but the head of a classification task."""
    pretrained = model.parts() if model.task in LANGUAGE_TASKS else [model.backbone]
    for part in pretrained:
        for variable in part.by_name.values():
            variable.trainable = False


def _add(part: Parameters, name: str, a: np.ndarray, b: np.ndarray, scale: float) -> None:
    part.replace_variable(f"{name}.lora_a", to_backend(a), "float32", trainable=True)
    part.replace_variable(f"{name}.lora_b", to_backend(b), "float32", trainable=True)
    part.replace_variable(f"{name}.lora_scale", to_backend(np.array(scale, np.float32)), "float32", trainable=False)


def _linears(model: TaskModel) -> Iterator[tuple[Parameters, Variable]]:
    for part in model.parts():
        for variable in part.declared:
            if variable.role == "linear":
                yield part, variable


def _targeted(name: str, targets: Sequence[str]) -> bool:
    module = module_of(name)[0]
    return any(module == target or module.endswith(f".{target}") for target in targets)
