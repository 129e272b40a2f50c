"""What a model family's own weight map knows of its modules: roles, axes, names in GGUF, and what their sizes mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intermodal.errors import IntermodalError
from intermodal.plugins import manager
from intermodal.scaffold.model_family import DIALECT, ModelFamily
from intermodal.scaffold.shapes import LABELS, PROBE, Sizes, sizes_of
from intermodal.weights.map import Weight, WeightMap
from intermodal.weights.transforms import IDENTITY

PROBED_LABELS = 5
LITERAL = 4
"""Sizes up to this are numbers of their own, such as the two of a question's first and last token."""

TIE = "tie_word_embeddings"


@dataclass(frozen=True)
class KnownModule:
    """One module (`self_attn.q_proj`) of a model's map.

    Attributes:
        weights: suffix (`weight`, `bias`) → the weight.
        hints: suffix → what each of its sizes means: an expression, a number, or None where that is not clear.
        gguf: its name in GGUF files, without the block; None where it has none.
        transformed: how values differ in GGUF files; empty where they do not.
    """

    weights: Mapping[str, Weight]
    hints: Mapping[str, tuple[str | None, ...]]
    gguf: str | None = None
    transformed: str = ""

    @property
    def first(self) -> Weight:
        """Its weight, or whatever stands first."""
        return next(iter(self.weights.values()))


@dataclass(frozen=True)
class KnownMap:
    """A model's map for all of its tasks.

    Attributes:
        owner: the plugin it comes from.
        modules: (stack, name) → the module; the stack is None outside of repeated blocks. In the map's order.
        heads: task → its head's modules by name.
        maps: task → the map.
    """

    owner: str = ""
    modules: Mapping[tuple[str | None, str], KnownModule] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, KnownModule]] = field(default_factory=dict)
    maps: Mapping[str, WeightMap] = field(default_factory=dict)

    @property
    def gguf_stacks(self) -> dict[str, str]:
        """Stack → its name in GGUF files."""
        return {
            weight.block[0]: weight.aliases[DIALECT].name.partition(".0.")[0]
            for whole in self.maps.values()
            for weight in whole.weights
            if weight.block and weight.block[1] == 0 and DIALECT in weight.aliases
        }


def known_map(model: ModelFamily) -> KnownMap:
    """Ask a family's own weight map, with a config in which every size means one thing."""
    config = probe(model)
    hints = sizes_of({item.name: getattr(config, item.name) for item in dataclasses.fields(config)})
    tasks = dict.fromkeys(model.family.architectures.values())
    maps = {task: manager().weight_map(model.loaded, config, task) for task in tasks}
    modules: dict[tuple[str | None, str], KnownModule] = {}
    heads: dict[str, dict[str, KnownModule]] = {}
    for task, whole in maps.items():
        grouped: dict[tuple[str | None, str], dict[str, Weight]] = {}
        for weight in whole.weights:
            if weight.block is None or weight.block[1] == 0:
                stack = weight.block[0] if weight.block else None
                name = weight.name.removeprefix(f"{stack}.0.")
                module, _, suffix = name.rpartition(".")
                grouped.setdefault((stack, module), {})[suffix] = weight
        for key, weights in grouped.items():
            meant = {
                suffix: tuple(_meaning(size, hints, head=weight.head) for size in weight.shape)
                for suffix, weight in weights.items()
            }
            known = KnownModule(weights, meant, *_in_gguf(next(iter(weights.values()))))
            if known.first.head:
                heads.setdefault(task, {})[key[1]] = known
            else:
                modules.setdefault(key, known)
    return KnownMap(model.loaded.plugin.name, modules, heads, maps)


def probe(model: ModelFamily) -> Any:
    """A config of the model's class whose sizes differ, as far as the class has those fields; else its defaults."""
    names = {item.name for item in dataclasses.fields(model.config_class)}
    chosen = {name: value for name, value in {**PROBE, TIE: True}.items() if name in names}
    try:
        config = model.config_class(**chosen)
    except IntermodalError:
        config = model.config_class()
    return config.with_labels(PROBED_LABELS)


def _meaning(size: int, hints: Sizes, *, head: bool) -> str | None:
    """The expression of a size, the number where it is one that is written as such, None where neither is clear."""
    if head and size == PROBED_LABELS:
        return LABELS
    return hints.unambiguous(size) or (str(size) if size <= LITERAL else None)


def _in_gguf(weight: Weight) -> tuple[str | None, str]:
    alias = weight.aliases.get(DIALECT)
    if alias is None:
        return None, ""
    name = alias.name.partition(".0.")[2] if weight.block else alias.name
    return name.rpartition(".")[0], "" if alias.transform == IDENTITY else type(alias.transform).__name__
