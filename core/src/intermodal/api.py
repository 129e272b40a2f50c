"""All that a plugin may import. Nothing else in intermodal is a stable contract.

Importing it is light; names that compute are imported from Keras when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from intermodal.families import API_VERSION, Family
from intermodal.hookspecs import hookimpl

if TYPE_CHECKING:
    from intermodal import kernels
    from intermodal.checkpoints.base import Checkpoint, CheckpointReader, TensorInfo
    from intermodal.checkpoints.metadata import Metadata
    from intermodal.config import ConfigReport, ModelConfig, RopeParameters, inverse_frequencies
    from intermodal.config.gguf import GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields
    from intermodal.errors import InputError
    from intermodal.layers.backbone import Backbone
    from intermodal.layers.parameters import Tree
    from intermodal.layers.step import Step
    from intermodal.sources.base import Access, Repository, Source
    from intermodal.tasks.base import TaskModel
    from intermodal.tasks.sentence import SentenceEmbedding
    from intermodal.weights.map import (
        Alias,
        Ignored,
        Part,
        Weight,
        WeightMap,
        embedding,
        fuse,
        head,
        linear,
        norm,
        renamed,
        repeat,
        split,
    )
    from intermodal.weights.transforms import AddConstant, Deinterleave, Identity, Permute, Transform

_HOMES = {
    "intermodal.checkpoints.base": ("Checkpoint", "CheckpointReader", "TensorInfo"),
    "intermodal.checkpoints.metadata": ("Metadata",),
    "intermodal.config": ("ConfigReport", "ModelConfig", "RopeParameters", "inverse_frequencies"),
    "intermodal.config.gguf": ("GGUF_INERT", "GGUF_RULES", "GgufKeys", "decoder_fields"),
    "intermodal.errors": ("InputError",),
    "intermodal.layers.backbone": ("Backbone",),
    "intermodal.layers.parameters": ("Tree",),
    "intermodal.layers.step": ("Step",),
    "intermodal.sources.base": ("Access", "Repository", "Source"),
    "intermodal.tasks.base": ("TaskModel",),
    "intermodal.tasks.sentence": ("SentenceEmbedding",),
    "intermodal.weights.map": (
        "Alias",
        "Ignored",
        "Part",
        "Weight",
        "WeightMap",
        "embedding",
        "fuse",
        "head",
        "linear",
        "norm",
        "renamed",
        "repeat",
        "split",
    ),
    "intermodal.weights.transforms": ("AddConstant", "Deinterleave", "Identity", "Permute", "Transform"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "API_VERSION",
    "GGUF_INERT",
    "GGUF_RULES",
    "Access",
    "AddConstant",
    "Alias",
    "Backbone",
    "Checkpoint",
    "CheckpointReader",
    "ConfigReport",
    "Deinterleave",
    "Family",
    "GgufKeys",
    "Identity",
    "Ignored",
    "InputError",
    "Metadata",
    "ModelConfig",
    "Part",
    "Permute",
    "Repository",
    "RopeParameters",
    "SentenceEmbedding",
    "Source",
    "Step",
    "TaskModel",
    "TensorInfo",
    "Transform",
    "Tree",
    "Weight",
    "WeightMap",
    "decoder_fields",
    "embedding",
    "fuse",
    "head",
    "hookimpl",
    "inverse_frequencies",
    "kernels",
    "linear",
    "norm",
    "renamed",
    "repeat",
    "split",
]


def __getattr__(name: str) -> Any:
    if name == "kernels":
        return importlib.import_module("intermodal.kernels")
    if name not in _HOME_OF:
        raise AttributeError(f"intermodal.api has no name {name!r}; it offers: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
