"""The first hops of the way of the data, which read headers and no weights: from a URI to a plan.

`inspect` stops here; `load` and `convert` go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints import open_checkpoint
from intermodal.checkpoints.base import Checkpoint
from intermodal.errors import ConfigError, TaskError
from intermodal.families import Family, resolve
from intermodal.plugins import manager
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal.tasks import BACKBONE_TASK, check_task
from intermodal.weights.map import HUGGINGFACE, WeightMap
from intermodal.weights.plan import Plan, make_plan

if TYPE_CHECKING:
    from intermodal.config import ConfigReport
    from intermodal.plugins import LoadedFamily


@dataclass(frozen=True)
class Examined:
    """All that is known of a checkpoint before its weights are read.

    Attributes:
        uri: what was asked for. `checkpoint`: opened, headers read.
        owner: the family and the plugin that provides it.
        config: typed. `config_report`: the accounting of config.json's keys.
        task: what the model will be. `saved_task`: what the checkpoint was saved as, where that is known.
        weight_map, plan: which tensor goes where.
        warnings: what the user should know, one sentence each.
    """

    uri: str
    checkpoint: Checkpoint
    owner: LoadedFamily
    config: Any
    config_report: ConfigReport
    task: str
    saved_task: str | None
    weight_map: WeightMap
    plan: Plan
    warnings: list[str] = field(default_factory=list)

    @property
    def family(self) -> Family:
        """The family that reads it."""
        return self.owner.family


def examine(
    uri: str,
    task: str | None = None,
    *,
    access: Access | None = None,
    family: str | None = None,
    strict: bool = True,
    config: Mapping[str, Any] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Examined:
    """Source, checkpoint, catalog, config and weight map of a URI. Nothing large is read or allocated.

    Args are those of `load`; `checkpoint` is one that is open already.

    Raises:
        IntermodalError: any hop refuses; the message names the file, the key or the tensor, and what to do.
    """
    plugins = manager()
    if checkpoint is None:
        checkpoint = open_checkpoint(open_repository(uri, access or Access(), plugins.source), plugins.reader)
    owner = plugins.family(checkpoint.family_key, override=family)
    raw = raw_config(checkpoint, owner.family)
    warnings: list[str] = []
    if task is not None:
        check_task(owner.family, task)
    saved = saved_task(raw, owner.family, asked=task)
    wanted = task or saved or _guess_task(raw, checkpoint, owner, warnings)
    typed, report = resolve(owner.family.config).from_hf(raw, strict=strict, overrides=config)
    typed = _labels_of_head(typed, checkpoint, owner, wanted, warnings)
    weight_map = plugins.weight_map(owner, typed, wanted)
    plan = plan_for(checkpoint, owner, typed, weight_map, wanted, saved, strict=strict)
    if plan.new:
        warnings.append(
            f"The checkpoint was saved for {saved}, not for {wanted}: {', '.join(plan.new)} "
            "is NEW and random, and must be trained before it is of use."
        )
    return Examined(uri, checkpoint, owner, typed, report, wanted, saved, weight_map, plan, warnings)


def raw_config(checkpoint: Checkpoint, family: Family) -> dict[str, Any]:
    """The checkpoint's config.json, or what the family makes of the format's own metadata.

    Raises:
        ConfigError: the format keeps no config.json, and the family cannot read its metadata.
    """
    if checkpoint.dialect == HUGGINGFACE:
        return checkpoint.config
    if checkpoint.dialect not in family.dialects:
        raise ConfigError(
            f"{family.name} does not read {checkpoint.format} checkpoints; it reads: "
            f"{', '.join(['safetensors', *family.dialects])}."
        )
    return resolve(family.dialects[checkpoint.dialect])(checkpoint)


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


def head_names(owner: LoadedFamily, config: Any, dialect: str) -> dict[str, set[str]]:
    """For each task of the family, the names that a dialect has for its head's tensors."""
    plugins = manager()
    return {
        task: {
            weight.aliases[dialect].name if dialect in weight.aliases else weight.name
            for weight in plugins.weight_map(owner, config, task).weights
            if weight.head
        }
        for task in dict.fromkeys(owner.family.architectures.values())
    }


def plan_for(
    checkpoint: Checkpoint,
    owner: LoadedFamily,
    config: Any,
    weight_map: WeightMap,
    task: str,
    saved: str | None,
    *,
    strict: bool = True,
) -> Plan:
    """The plan for a task that may be another than the checkpoint was saved for.

    A head of another task is left alone even where the names agree: `score.weight` of a token classifier is no
    sequence classifier.
    """
    heads = head_names(owner, config, checkpoint.dialect)
    others = set().union(*(names for its_task, names in heads.items() if its_task != task)) - heads.get(task, set())
    tensors = dict(checkpoint.tensors)
    another = saved is not None and saved != task
    if another:
        foreign = heads.get(saved or "", set()) if task != BACKBONE_TASK else set()
        others |= foreign & set(tensors)
        hidden = {name: tensors.pop(name) for name in foreign & set(tensors)}
    else:
        hidden = {}
    plan = make_plan(weight_map, tensors, checkpoint.dialect, new_head=another, heads_elsewhere=others, strict=strict)
    if not hidden:
        return plan
    ignored = {**plan.ignored, **dict.fromkeys(hidden, "the head of another task")}
    return dataclasses.replace(plan, ignored=ignored)


def _guess_task(raw: Mapping[str, Any], checkpoint: Checkpoint, owner: LoadedFamily, warnings: list[str]) -> str:
    """The task of a config without `architectures`: that whose head the checkpoint holds."""
    typed, _ = resolve(owner.family.config).from_hf(raw, strict=False)
    for task, names in head_names(owner, typed, checkpoint.dialect).items():
        if names and names <= set(checkpoint.tensors):
            warnings.append(f"config.json names no architectures; the tensors {sorted(names)} say {task}.")
            return task
    warnings.append(
        "config.json names no architectures and no head was found: loaded as the backbone alone; "
        'load(uri, task="text-generation") ties the head to the embedding.'
    )
    return BACKBONE_TASK


def _labels_of_head(config: Any, checkpoint: Checkpoint, owner: LoadedFamily, task: str, warnings: list[str]) -> Any:
    """The config with as many labels as the head tensor has rows, where the two disagree."""
    labels = getattr(config, "num_labels", None)
    if labels is None or not task.endswith("classification"):
        return config
    for weight in manager().weight_map(owner, config, task).weights:
        info = checkpoint.tensors.get(weight.name)
        if weight.head and info and weight.role == "linear" and info.shape[:1] not in ((), (labels,)):
            rows = info.shape[0]
            warnings.append(f"config.json tells of {labels} labels, but {weight.name} has {rows}: the tensor is right.")
            return config.with_labels(rows)
    return config
