"""LoRA: low-rank updates to linears, trained while everything else is frozen (arXiv:2106.09685).

Tensors are laid out as PEFT has them: `lora_A` (rank, in) and `lora_B` (out, rank), the update being
`lora_B @ lora_A * alpha / rank`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.errors import WeightError
from intermodal.layers.parameters import Parameters, module_of
from intermodal.tasks import LANGUAGE_TASKS
from intermodal.weights.map import Variable
from intermodal.weights.memory import to_backend

if TYPE_CHECKING:
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
    _freeze(model)
    random = np.random.default_rng(seed)
    for part, variable in chosen:
        outputs, inputs = variable.shape
        part.by_name[variable.name].trainable = False
        start = random.uniform(-1, 1, (rank, inputs)).astype(np.float32) * np.float32(np.sqrt(3 / inputs))
        _add(part, variable.name, start, np.zeros((outputs, rank), np.float32), scale)
    model.adapter = {"rank": rank, "alpha": scale * rank, "variables": [v.name for _, v in chosen]}


def restore_lora(model: TaskModel, adapter: dict[str, Any]) -> None:
    """Add blank LoRA variables as `adapter` describes them, before their values are read from a `.keras` file."""
    rank = adapter["rank"]
    _freeze(model)
    for part, variable in _linears(model):
        if variable.name in adapter["variables"]:
            part.by_name[variable.name].trainable = False
            outputs, inputs = variable.shape
            blank = np.zeros((rank, inputs), np.float32), np.zeros((outputs, rank), np.float32)
            _add(part, variable.name, *blank, adapter["alpha"] / rank)
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
