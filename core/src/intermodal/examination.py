"""The first hops of the way of the data, which read headers and no weights: from a URI to a plan.

`inspect` stops here; `load` and `convert` go on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.adapters.adapter_config import read_adapter_config
from intermodal.adapters.checkpoint import AdaptedCheckpoint
from intermodal.adapters.opening import is_adapter, open_base, without_place
from intermodal.checkpoints import open_checkpoint
from intermodal.checkpoints.base import Checkpoint
from intermodal.checkpoints.renamed import RenamedCheckpoint
from intermodal.config.fields import MOST_LABELS
from intermodal.errors import ConfigError, TaskError
from intermodal.families import Family, resolve
from intermodal.plugins import manager
from intermodal.processing.sentence_files import read_sentences, tells_pooling
from intermodal.processing.sentences import SentenceSettings
from intermodal.saved_task import head_names, saved_task, task_of_head
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal.tasks import BACKBONE_TASK, PARTS, SENTENCE_TASK, check_task
from intermodal.weights.map import HUGGINGFACE, WeightMap
from intermodal.weights.plan import Plan, make_plan

if TYPE_CHECKING:
    from intermodal.adapters.adapter_config import AdapterConfig
    from intermodal.config import ConfigReport, ModelConfig
    from intermodal.plugins import LoadedFamily
    from intermodal.sources.base import Repository

LABELS = frozenset(("num_labels", "id2label", "label2id"))
"""Config keys that say how many labels a head has."""


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
        sentences: how its hidden states become a text's vector, where that is the task.
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
    sentences: SentenceSettings | None = None

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
    config: Mapping[str, Any] | ModelConfig | None = None,
    checkpoint: Checkpoint | None = None,
    variant: str | None = None,
    key_mapping: Mapping[str, str] | None = None,
    ignore_mismatched_sizes: bool = False,
    adapter: str | None = None,
) -> Examined:
    """Source, checkpoint, catalog, config and weight map of a URI. Nothing large is read or allocated.

    Args are those of `load`; `checkpoint` is one that is open already.

    Raises:
        IntermodalError: any hop refuses; the message names the file, the key or the tensor, and what to do.
    """
    plugins = manager()
    if checkpoint is None:
        checkpoint = open_source(uri, access or Access(), variant, key_mapping, adapter)
    elif key_mapping:
        checkpoint = RenamedCheckpoint(checkpoint, key_mapping)
    if isinstance(checkpoint, AdaptedCheckpoint) and checkpoint.adapter_config.task != "text-generation":
        task = task or checkpoint.adapter_config.task  # that one is written for all models that generate
    owner = plugins.family(checkpoint.family_key, override=family)
    given, overrides = (None, config) if config is None or isinstance(config, Mapping) else (config.to_hf(), None)
    raw = given or raw_config(checkpoint, owner.family)
    warnings: list[str] = []
    if task is not None:
        check_task(owner.family, task)
    saved = saved_task(raw, owner.family, asked=task)
    if not raw.get("architectures"):
        saved = task_of_head(raw, checkpoint, owner, task, warnings)
    if saved == BACKBONE_TASK and SENTENCE_TASK in owner.family.task_classes and tells_pooling(checkpoint):
        saved = SENTENCE_TASK
    wanted = task or saved or BACKBONE_TASK
    typed, report = resolve(owner.family.config).from_hf(raw, strict=strict, overrides=overrides)
    if isinstance(checkpoint, AdaptedCheckpoint) and checkpoint.bind(plugins.weight_map(owner, typed, wanted)):
        untied = {**(overrides or {}), "tie_word_embeddings": False}
        typed, report = resolve(owner.family.config).from_hf(raw, strict=strict, overrides=untied)
        checkpoint.bind(plugins.weight_map(owner, typed, wanted))
    if given is None and not LABELS & (overrides or {}).keys():
        typed = _labels_of_head(typed, checkpoint, owner, wanted, warnings)
    weight_map = plugins.weight_map(owner, typed, wanted)
    sentences = None
    if wanted == SENTENCE_TASK:
        sentences, checkpoint = read_sentences(checkpoint, typed.hidden_size)
        weight_map = weight_map.with_more(sentences.weights())
    plan = plan_for(
        checkpoint,
        owner,
        typed,
        weight_map,
        wanted,
        saved,
        strict=strict,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
    )
    weight_map = weight_map.without(plan.left_out)
    if plan.mismatched:
        shapes = "; ".join(
            f"{name} has {own}, the config says {asked}" for name, (own, asked) in plan.mismatched.items()
        )
        warnings.append(
            f"Of another shape than the config says: {shapes}. {', '.join(plan.new)} is NEW and random, and must be "
            "trained before it is of use."
        )
    elif plan.new:
        warnings.append(
            f"The checkpoint was saved for {saved}, not for {wanted}: {', '.join(plan.new)} "
            "is NEW and random, and must be trained before it is of use."
        )
    return Examined(uri, checkpoint, owner, typed, report, wanted, saved, weight_map, plan, warnings, sentences)


def open_source(
    uri: str,
    access: Access,
    variant: str | None = None,
    key_mapping: Mapping[str, str] | None = None,
    adapter: str | None = None,
) -> Checkpoint:
    """The checkpoint of a URI; of an adapter's, or with an adapter, that of its model with the adapter on it.

    Args are those of `load`.

    Raises:
        IntermodalError: it cannot be found or opened.
    """
    plugins = manager()
    repository = open_repository(uri, access, plugins.source)
    adapting: Repository | None = None
    adapter_config: AdapterConfig | None = None
    if adapter is not None:
        adapting = open_repository(adapter, without_place(access), plugins.source)
        adapter_config = read_adapter_config(adapting)
    elif is_adapter(repository):
        adapting, adapter_config = repository, read_adapter_config(repository)
        repository = open_base(adapting, adapter_config, access)
    checkpoint = open_checkpoint(repository, plugins.reader, variant=variant)
    if key_mapping:
        checkpoint = RenamedCheckpoint(checkpoint, key_mapping)
    if adapting is None or adapter_config is None:
        return checkpoint
    return AdaptedCheckpoint(checkpoint, adapting, adapter_config)


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


def plan_for(
    checkpoint: Checkpoint,
    owner: LoadedFamily,
    config: Any,
    weight_map: WeightMap,
    task: str,
    saved: str | None,
    *,
    strict: bool = True,
    ignore_mismatched_sizes: bool = False,
) -> Plan:
    """The plan for a task that may be another than the checkpoint was saved for.

    A head of another task is left alone even where the names agree: `score.weight` of a token classifier is no
    sequence classifier. A task that is part of the other (`tasks.PARTS`) has the very same head.
    """

    @functools.cache
    def heads() -> dict[str, set[str]]:
        return head_names(owner, config, checkpoint.dialect)  # it takes a map for each task, and is seldom needed

    def others() -> Iterator[str]:
        own = heads().get(task, set())
        for its_task, names in heads().items():
            yield from () if its_task == task else names - own

    tensors = dict(checkpoint.tensors)
    another = saved is not None and saved != task and task not in PARTS.get(saved, ())
    hidden = {}
    if another and task != BACKBONE_TASK and saved not in PARTS.get(task, ()):
        foreign = heads().get(saved or "", set())
        hidden = {name: tensors.pop(name) for name in foreign & set(tensors)}
    plan = make_plan(
        weight_map,
        tensors,
        checkpoint.dialect,
        new_head=another,
        heads_elsewhere=others(),
        strict=strict,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
    )
    if not hidden:
        return plan
    ignored = {**plan.ignored, **dict.fromkeys(hidden, "the head of another task")}
    return dataclasses.replace(plan, ignored=ignored)


def with_new_head(examined: Examined, labels: int, *, strict: bool = True) -> Examined:
    """The same checkpoint under a new head with so many labels, whatever head it holds.

    Raises:
        TaskError: the task has no labels, or `labels` is no positive number.
    """
    owner, checkpoint, task = examined.owner, examined.checkpoint, examined.task
    if not task.endswith("classification"):
        raise TaskError(f"{task} has no classes to choose from, so no head for {labels} of them can be made.")
    if isinstance(labels, bool) or not isinstance(labels, int) or not 1 <= labels <= MOST_LABELS:
        raise TaskError(f"The number of classes is {labels!r}, expected an integer from 1 to {MOST_LABELS}.")
    config = examined.config.with_labels(labels)
    weight_map = manager().weight_map(owner, config, task)
    heads = set().union(*head_names(owner, config, checkpoint.dialect).values())
    held = heads & checkpoint.tensors.keys()
    tensors = {name: info for name, info in checkpoint.tensors.items() if name not in held}
    plan = make_plan(weight_map, tensors, checkpoint.dialect, new_head=True, strict=strict)
    plan = dataclasses.replace(plan, ignored={**plan.ignored, **dict.fromkeys(held, "a new head was asked for")})
    said = f"A new head for {labels} classes was asked for: {', '.join(plan.new)} is NEW and random."
    weight_map = weight_map.without(plan.left_out)
    return dataclasses.replace(
        examined, config=config, weight_map=weight_map, plan=plan, warnings=[*examined.warnings, said]
    )


def untrained(examined: Examined) -> Examined:
    """The same model with every weight new, and nothing read but headers."""
    said = "No weight was read (load_weights=False): EVERY weight is random, and must be trained before it is of use."
    return dataclasses.replace(examined, plan=examined.plan.untrained(), warnings=[*examined.warnings, said])


def _labels_of_head(config: Any, checkpoint: Checkpoint, owner: LoadedFamily, task: str, warnings: list[str]) -> Any:
    """The config with as many labels as the head tensor has rows, where the two disagree.

    A head may have several linears; the one meant is that whose rows the map counts by labels.
    """
    labels = getattr(config, "num_labels", None)
    if labels is None or not task.endswith("classification"):
        return config
    one_more = manager().weight_map(owner, config.with_labels(labels + 1), task).by_name()
    for weight in manager().weight_map(owner, config, task).weights:
        info = checkpoint.tensors.get(weight.name)
        counts_labels = weight.head and weight.role == "linear" and weight.shape != one_more[weight.name].shape
        if counts_labels and info and info.shape[:1] not in ((), (labels,)):
            rows = info.shape[0]
            warnings.append(f"config.json tells of {labels} labels, but {weight.name} has {rows}: the tensor is right.")
            return config.with_labels(rows)
    return config
