"""Weight maps with one fault each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from intermodal.api import Alias, Deinterleave, Identity, Part, Weight, WeightMap
from intermodal_llama3.weights import weight_map

QUERIES = "self_attn.q_proj.weight"


class OneWay(Deinterleave):
    """Undoes nothing."""

    def export(self, values: np.ndarray) -> np.ndarray:
        return values


def changed(change: Callable[[Weight, Any], Weight], config: Any, task: str) -> WeightMap:
    """The real map with each weight changed."""
    real = weight_map(config, task)
    return dataclasses.replace(real, weights=tuple(change(weight, config) for weight in real.weights))


def with_alias(weight: Weight, dialect: str, **changes: Any) -> Weight:
    alias = weight.aliases.get(dialect) or Alias(weight.name)
    return dataclasses.replace(weight, aliases={**weight.aliases, dialect: dataclasses.replace(alias, **changes)})


def permuted_queries(config: Any, task: str) -> WeightMap:
    """Rotary halves taken for pairs."""
    return changed(
        lambda w, c: (
            with_alias(w, "huggingface", transform=Deinterleave(c.num_attention_heads))
            if w.name.endswith(QUERIES)
            else w
        ),
        config,
        task,
    )


def one_way_transform(config: Any, task: str) -> WeightMap:
    """A transform that export does not undo."""
    return changed(
        lambda w, c: (
            with_alias(w, "huggingface", transform=OneWay(c.num_attention_heads)) if w.name.endswith(QUERIES) else w
        ),
        config,
        task,
    )


def missing_tie(config: Any, task: str) -> WeightMap:
    """A head of its own, whatever the config ties."""
    return changed(lambda w, _: dataclasses.replace(w, tied_to=None), config, task)


def lost_rows(config: Any, task: str) -> WeightMap:
    """Two weights that read the same half of a tensor."""

    def half(weight: Weight, _: Any) -> Weight:
        if not weight.name.endswith("mlp.up_proj.weight"):
            return weight
        name = weight.name.replace("up_proj", "gate_proj")
        return with_alias(weight, "huggingface", name=name, part=Part(0, 0, weight.shape[0]), of_shape=weight.shape)

    return changed(half, config, task)


def plain_gguf(config: Any, task: str) -> WeightMap:
    """Queries of a GGUF file taken as they are."""
    return changed(
        lambda w, _: with_alias(w, "gguf", transform=Identity()) if w.name.endswith(QUERIES) else w, config, task
    )
