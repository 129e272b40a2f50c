"""The conformance kit: an author writes one small class, and gets the tests that prove a family right or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from intermodal.testing.family_tests.checkpoints import CheckpointTests
from intermodal.testing.family_tests.config_fields import ConfigFieldTests
from intermodal.testing.family_tests.config_inert import ConfigInertTests
from intermodal.testing.family_tests.config_keys import ConfigKeyTests
from intermodal.testing.family_tests.config_reading import ConfigReadingTests
from intermodal.testing.family_tests.export import ExportTests
from intermodal.testing.family_tests.gguf import GGUFTests
from intermodal.testing.family_tests.heads import HeadTests
from intermodal.testing.family_tests.metadata import MetadataTests
from intermodal.testing.family_tests.model import ModelTests
from intermodal.testing.family_tests.package import PackageTests
from intermodal.testing.family_tests.parameters import parameters
from intermodal.testing.family_tests.prompts import PromptTests
from intermodal.testing.family_tests.subject import Subject, subject_of
from intermodal.testing.family_tests.tokenizer import TokenizerTests
from intermodal.testing.family_tests.variants import Variant
from intermodal.testing.family_tests.weights import WeightTests
from intermodal.testing.references import References

__all__ = ["FamilyTests", "Variant"]


class FamilyTests(
    MetadataTests,
    PackageTests,
    ConfigFieldTests,
    ConfigReadingTests,
    ConfigInertTests,
    ConfigKeyTests,
    WeightTests,
    CheckpointTests,
    ExportTests,
    ModelTests,
    PromptTests,
    HeadTests,
    GGUFTests,
    TokenizerTests,
):
    """Subclass it in a test module, as `TestSomething`, and set the attributes.

    Tests marked `backend` compute with Keras, and are run once for each backend; the others once.

    Attributes:
        family: its name, as `load(…, family=)` takes it.
        tiny: config fields of a model of a few thousand weights, with two layers and, for text, a padding id.
        variants: name → fields to change, each of which has to give transformers' numbers. Flags, sizes and epsilons
            that no variant names are tried by the kit.
        refused: name → fields to change, each of which has to raise a ConfigError that names one of them.
        unvaried: fields that need no variant, and why.
        unread_keys: names that transformers' code has, and why none in a config.json of this family reaches it.
        gguf_metadata: function `(config) -> dict` of a GGUF file's keys; needed where the family reads GGUF. It gives
            `general.architecture` too, where the family claims none of its own.
        gguf_variants: name → fields to change, each of which is tried as a GGUF file.
        gguf_architecture: transformers' class that a GGUF file holds; None is the family's first.
        tokenizer: a folder with the files of a tokenizer of this family, tokenizer.json among them; or a function
            `(folder) -> None` that writes them.
        golden_ids: text → ids without special tokens, which another program gives for that tokenizer.
        vocabularies: names of llama.cpp's vocabularies that the family's GGUF files hold, such as `"gpt-2"`;
            compared with the ids beside them where INTERMODAL_LLAMA_CPP names llama.cpp's source.
    """

    family: ClassVar[str]
    tiny: ClassVar[Mapping[str, Any]]
    variants: ClassVar[Mapping[str, Mapping[str, Any] | Variant]] = {}
    refused: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    unvaried: ClassVar[Mapping[str, str]] = {}
    unread_keys: ClassVar[Mapping[str, str]] = {}
    gguf_metadata: ClassVar[Callable[[Any], dict[str, Any]] | None] = None
    gguf_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}
    gguf_architecture: ClassVar[str | None] = None
    tokenizer: ClassVar[str | Path | Callable[[Path], None] | None] = None
    golden_ids: ClassVar[Mapping[str, list[int]]] = {}
    vocabularies: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def inputs(cls, task: str) -> dict[str, np.ndarray]:
        """Inputs that models of a task are compared with: `input_ids` (batch, sequence), int32, and what else it takes.

        Override it where a model takes more, or something else: `{"pixel_values": …}` (batch, channels, height, width),
        `{"input_values": …}` (batch, samples). No sequence may hold the padding id.
        """
        ids = np.random.default_rng(3).integers(3, cls.tiny["vocab_size"], (2, 40))
        return {"input_ids": ids.astype("int32")}

    @classmethod
    def inputs_for(cls, task: str, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Inputs of a model with these config fields. Override it where they decide on shapes, as `image_size` does."""
        return cls.inputs(task)

    @classmethod
    def padded(cls, inputs: Mapping[str, np.ndarray], side: str) -> dict[str, np.ndarray] | None:
        """These inputs, the last row of them padded, with an `attention_mask`; None where such inputs have no padding.

        Without `input_ids` it gives None: override it where inputs of another kind are padded, as sound is.

        Args:
            inputs: as `inputs` gives them.
            side: `"left"` or `"right"`.
        """
        if "input_ids" not in inputs:
            return None
        ids = inputs["input_ids"].copy()
        mask = np.ones_like(ids)
        pads = slice(0, ids.shape[-1] // 4) if side == "left" else slice(-(ids.shape[-1] // 4), None)
        mask[-1, ..., pads] = 0
        ids[mask == 0] = cls.tiny.get("pad_token_id") or 0
        return {**inputs, "input_ids": ids, "attention_mask": mask}

    @classmethod
    def older_spelling(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A config.json of transformers 5 as transformers 4 wrote it. Override it where more than this differs."""
        older = {key: value for key, value in raw.items() if key not in ("rope_parameters", "dtype")}
        older |= {"torch_dtype": raw.get("dtype", "float32"), "transformers_version": "4.44.0"}
        if rope := raw.get("rope_parameters"):
            scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
            older["rope_theta"] = rope["rope_theta"]
            older["rope_scaling"] = None if scaling.get("rope_type", "default") == "default" else scaling
        return older

    @pytest.fixture
    def subject(self, intermodal_references: References) -> Subject:
        """The family under test."""
        return subject_of(type(self), intermodal_references)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test for each variant, architecture, key and prefix that the family has."""
        for argument, values in parameters(type(self), metafunc.fixturenames).items():
            metafunc.parametrize(argument, values)
