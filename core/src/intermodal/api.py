"""All that a plugin may import. Nothing else in intermodal is a stable contract.

Importing it is light; names that compute are imported from Keras when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from intermodal.families import API_VERSION, Family
from intermodal.hookspecs import hookimpl

if TYPE_CHECKING:
    from intermodal import compiled, errors, kernels
    from intermodal.builtin_commands import Command
    from intermodal.checkpoints.base import Checkpoint, CheckpointReader, TensorInfo
    from intermodal.checkpoints.metadata import Metadata
    from intermodal.checkpoints.weight_file import WeightFile
    from intermodal.config import (
        FLAT,
        ROPE_KEYS,
        ConfigReport,
        ModelConfig,
        RopeParameters,
        fields,
        inverse_frequencies,
        rope_from_hf,
        rope_parameters_to_hf,
        rope_to_hf,
    )
    from intermodal.config.accounting import ABSENT, Account, Problem, Rule, one_of, refusal
    from intermodal.config.gguf import GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields
    from intermodal.dtypes import numpy_dtype
    from intermodal.errors import CheckpointError, InputError, TokenizerError
    from intermodal.kernels.bundle import Bundle
    from intermodal.kernels.ops import ops
    from intermodal.layers.backbone import Backbone
    from intermodal.layers.parameters import Tree
    from intermodal.layers.step import Step
    from intermodal.presets import CausalLMPreset, Preset
    from intermodal.processing.encoded import Encoded
    from intermodal.processing.encoding import array_as, as_tensors
    from intermodal.processing.image_processor import IMAGE_CHECKS, ImageProcessor
    from intermodal.processing.images import read_image
    from intermodal.processing.processor import Processor
    from intermodal.processing.tokenizer import Tokenizer, TokenizerParts
    from intermodal.processing.word_boxes import check_word_boxes, read_words, token_boxes
    from intermodal.sources.base import Access, Repository, Source
    from intermodal.tasks.base import TaskModel
    from intermodal.tasks.sentence import SentenceEmbedding
    from intermodal.unfinished import unfinished
    from intermodal.weights.map import (
        Alias,
        Ignored,
        Part,
        Prefix,
        Weight,
        WeightMap,
        conv1d,
        conv2d,
        embedding,
        fuse,
        head,
        linear,
        norm,
        numbered,
        renamed,
        repeat,
        split,
    )
    from intermodal.weights.packing import Packing
    from intermodal.weights.transforms import AddConstant, Deinterleave, Flatten, Identity, Permute, Transform

_HOMES = {
    "intermodal.builtin_commands": ("Command",),
    "intermodal.checkpoints.base": ("Checkpoint", "CheckpointReader", "TensorInfo"),
    "intermodal.checkpoints.metadata": ("Metadata",),
    "intermodal.checkpoints.weight_file": ("WeightFile",),
    "intermodal.config": (
        "FLAT",
        "ROPE_KEYS",
        "ConfigReport",
        "ModelConfig",
        "RopeParameters",
        "inverse_frequencies",
        "rope_from_hf",
        "rope_parameters_to_hf",
        "rope_to_hf",
    ),
    "intermodal.config.accounting": ("ABSENT", "Account", "Problem", "Rule", "one_of", "refusal"),
    "intermodal.config.gguf": ("GGUF_INERT", "GGUF_RULES", "GgufKeys", "decoder_fields"),
    "intermodal.dtypes": ("numpy_dtype",),
    "intermodal.errors": ("CheckpointError", "InputError", "TokenizerError"),
    "intermodal.layers.backbone": ("Backbone",),
    "intermodal.layers.parameters": ("Tree",),
    "intermodal.layers.step": ("Step",),
    "intermodal.kernels.bundle": ("Bundle",),
    "intermodal.kernels.ops": ("ops",),
    "intermodal.presets": ("CausalLMPreset", "Preset"),
    "intermodal.processing.encoded": ("Encoded",),
    "intermodal.processing.encoding": ("array_as", "as_tensors"),
    "intermodal.processing.images": ("read_image",),
    "intermodal.processing.image_processor": ("IMAGE_CHECKS", "ImageProcessor"),
    "intermodal.processing.processor": ("Processor",),
    "intermodal.processing.tokenizer": ("Tokenizer", "TokenizerParts"),
    "intermodal.processing.word_boxes": ("check_word_boxes", "read_words", "token_boxes"),
    "intermodal.sources.base": ("Access", "Repository", "Source"),
    "intermodal.tasks.base": ("TaskModel",),
    "intermodal.tasks.sentence": ("SentenceEmbedding",),
    "intermodal.unfinished": ("unfinished",),
    "intermodal.weights.map": (
        "Alias",
        "Ignored",
        "Part",
        "Prefix",
        "Weight",
        "WeightMap",
        "conv1d",
        "conv2d",
        "embedding",
        "fuse",
        "head",
        "linear",
        "norm",
        "numbered",
        "renamed",
        "repeat",
        "split",
    ),
    "intermodal.weights.packing": ("Packing",),
    "intermodal.weights.transforms": ("AddConstant", "Deinterleave", "Flatten", "Identity", "Permute", "Transform"),
}
_NAMESPACES = {
    "compiled": "intermodal.compiled",
    "errors": "intermodal.errors",
    "fields": "intermodal.config.fields",
    "kernels": "intermodal.kernels",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ABSENT",
    "API_VERSION",
    "FLAT",
    "GGUF_INERT",
    "GGUF_RULES",
    "IMAGE_CHECKS",
    "ROPE_KEYS",
    "Access",
    "Account",
    "AddConstant",
    "Alias",
    "Backbone",
    "Bundle",
    "CausalLMPreset",
    "Checkpoint",
    "CheckpointError",
    "CheckpointReader",
    "Command",
    "ConfigReport",
    "Deinterleave",
    "Encoded",
    "Family",
    "Flatten",
    "GgufKeys",
    "Identity",
    "Ignored",
    "ImageProcessor",
    "InputError",
    "Metadata",
    "ModelConfig",
    "Packing",
    "Part",
    "Permute",
    "Prefix",
    "Preset",
    "Problem",
    "Processor",
    "Repository",
    "RopeParameters",
    "Rule",
    "SentenceEmbedding",
    "Source",
    "Step",
    "TaskModel",
    "TensorInfo",
    "Tokenizer",
    "TokenizerError",
    "TokenizerParts",
    "Transform",
    "Tree",
    "Weight",
    "WeightFile",
    "WeightMap",
    "array_as",
    "as_tensors",
    "check_word_boxes",
    "compiled",
    "conv1d",
    "conv2d",
    "decoder_fields",
    "embedding",
    "errors",
    "fields",
    "fuse",
    "head",
    "hookimpl",
    "inverse_frequencies",
    "kernels",
    "linear",
    "norm",
    "numbered",
    "numpy_dtype",
    "one_of",
    "ops",
    "read_image",
    "read_words",
    "refusal",
    "renamed",
    "repeat",
    "rope_from_hf",
    "rope_parameters_to_hf",
    "rope_to_hf",
    "split",
    "token_boxes",
    "unfinished",
]


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return importlib.import_module(_NAMESPACES[name])
    if name not in _HOME_OF:
        raise AttributeError(f"intermodal.api has no name {name!r}; it offers: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
