"""Which task a checkpoint was saved for: what its config says, else what the head in it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import ConfigError, TaskError
from intermodal.families import Family, resolve
from intermodal.plugins import manager
from intermodal.tasks import BACKBONE_TASK

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.plugins import LoadedFamily
    from intermodal.weights.map import Weight


def saved_task(raw: Mapping[str, Any], family: Family, *, asked: str | None = None) -> str | None:
    """The task that config.json's `architectures` names, or None where it names none.

    Raises:
        TaskError: it names a class that this family refuses, or one it does not know and no task was asked for.
    """
    named = raw.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ConfigError(f"config.json: architectures is {named!r}, expected a list of class names.")
    for name in named:
        if name in family.architectures:
            return family.architectures[name]
        if name in family.refused:
            raise TaskError(f"config.json: {name} is not read by {family.name}: {family.refused[name]}")
    if named and asked is None:
        raise TaskError(
            f"config.json: architectures {named} are not known to {family.name}, which reads: "
            f"{', '.join(family.architectures)}. If the weights fit one of its tasks, name it: load(uri, task=…)."
        )
    return None


def task_of_head(
    raw: Mapping[str, Any], checkpoint: Checkpoint, owner: LoadedFamily, wanted: str | None, warnings: list[str]
) -> str:
    """What a checkpoint whose config names no `architectures` was saved as: the task whose head it holds.

    Raises:
        TaskError: the head that was found may be of several tasks, and the user named none.
    """
    typed, _ = resolve(owner.family.config).from_hf(raw, strict=False)
    heads = _heads(owner, typed)
    found: dict[str, set[str]] = {}
    for task, weights in heads.items():
        own = [weight for weight in weights if weight.tied_to is None and weight.if_absent == "refused"]
        if own and all(set(_spellings(weight, checkpoint.dialect)) & checkpoint.tensors.keys() for weight in own):
            found[task] = {weight.name for weight in own}
    found = {task: names for task, names in found.items() if not any(names < others for others in found.values())}
    if wanted is not None:
        return wanted if wanted in found else next(iter(found), BACKBONE_TASK)
    if len(found) > 1:
        raise TaskError(
            f"config.json names no architectures, and the head that was found may be for {' or '.join(found)}. Name "
            f'the task: load(uri, task="{next(iter(found))}").'
        )
    if found:
        ((task, names),) = found.items()
        warnings.append(f"config.json names no architectures; the tensors {sorted(names)} say {task}.")
        return task
    tied = [task for task, weights in heads.items() if weights and all(weight.tied_to for weight in weights)]
    ties = "".join(f' load(uri, task="{task}") ties the head to the embedding.' for task in tied)
    warnings.append(f"config.json names no architectures and no head was found: loaded as the backbone alone.{ties}")
    return BACKBONE_TASK


def head_names(owner: LoadedFamily, config: Any, dialect: str) -> dict[str, set[str]]:
    """For each task of the family, the names that a dialect has for its head's tensors, in every spelling."""
    return {
        task: {name for weight in weights for name in _spellings(weight, dialect)}
        for task, weights in _heads(owner, config).items()
    }


def _heads(owner: LoadedFamily, config: Any) -> dict[str, list[Weight]]:
    plugins = manager()
    return {
        task: [weight for weight in plugins.weight_map(owner, config, task).weights if weight.head]
        for task in dict.fromkeys(owner.family.architectures.values())
    }


def _spellings(weight: Weight, dialect: str) -> tuple[str, ...]:
    alias = weight.aliases.get(dialect)
    return (alias.name if alias else weight.name, *weight.legacy)
