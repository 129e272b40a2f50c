"""The family under test: what its plugin declares, what its test class says, and the references of both."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from intermodal.testing.family_tests.variants import UNVARIED, Variant, all_variants, merged
from intermodal.testing.references import Case, Reference, References

if TYPE_CHECKING:
    from intermodal.config import ModelConfig
    from intermodal.families import Family
    from intermodal.plugins import LoadedFamily
    from intermodal.tasks.base import TaskModel
    from intermodal.testing.family_tests import FamilyTests
    from intermodal.weights.map import WeightMap

TOLERANCE = 1e-4
"""Share of the largest expected value by which float32 results may differ; rounding comes to 4e-6."""

GENERATION = "text-generation"


@dataclass(frozen=True, eq=False)
class Subject:
    """A family under test.

    Attributes:
        tests: the author's class.
        references: where transformers' results are kept; None while tests are collected.
    """

    tests: type[FamilyTests]
    references: References | None = None

    # --- what the plugin declares ------------------------------------------------------------------------------------

    @functools.cached_property
    def owner(self) -> LoadedFamily:
        """The family and its plugin. Raises PluginError where it is not installed, or broken."""
        from intermodal.plugins import manager

        return manager().family("", override=self.tests.family)

    @property
    def family(self) -> Family:
        """The declaration."""
        return self.owner.family

    @property
    def distribution(self) -> metadata.Distribution:
        """The plugin's distribution."""
        return metadata.distribution(self.owner.plugin.name)

    @functools.cached_property
    def config_class(self) -> type[ModelConfig]:
        """The family's config class."""
        from intermodal.families import resolve

        return resolve(self.family.config)

    @property
    def architectures(self) -> list[str]:
        """transformers' classes that the family reads; the first is the one that variants are tested with."""
        return list(self.family.architectures)

    def task(self, architecture: str | None = None) -> str:
        """The task of an architecture."""
        return self.family.architectures[architecture or self.architectures[0]]

    def is_labelled(self, architecture: str) -> bool:
        """Whether an architecture's head has a row for each label."""
        return self.task(architecture).endswith("classification")

    def weight_map(self, changes: Mapping[str, Any] | None = None, architecture: str | None = None) -> WeightMap:
        """The weight map of the tiny model, with some fields changed."""
        from intermodal.plugins import manager

        config, _ = self.config_class.from_hf(self.raw(changes))
        return manager().weight_map(self.owner, config, self.task(architecture))

    def needs(self, capability: str, there: bool) -> None:
        """Skip a test of what the family does not have."""
        if not there:
            pytest.skip(f"{self.family.name} has no {capability}")

    # --- what the test class says ------------------------------------------------------------------------------------

    def raw(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A config.json of the tiny model, as short as it can be."""
        return {"model_type": self.config_class.model_types[0], **merged(self.tests.tiny, changes or {})}

    @functools.cached_property
    def variants(self) -> dict[str, Variant]:
        """Every variant that has to give transformers' numbers."""
        left_out = frozenset({*UNVARIED, *self.tests.unvaried, *self.refused_fields})
        found = all_variants(self.config_class, self.tests.tiny, self.tests.variants, left_out)
        return {"tiny": Variant({}), **found}

    @property
    def refused_fields(self) -> frozenset[str]:
        """Fields that the author names in what has to be refused."""
        return frozenset(key for changes in self.tests.refused.values() for key in changes)

    def inputs(self, task: str, changes: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """The author's inputs for a task of the tiny model with some fields changed."""
        return self.tests.inputs_for(task, merged(self.tests.tiny, changes or {}))

    def cases(self, task: str, changes: Mapping[str, Any] | None = None) -> dict[str, dict[str, np.ndarray]]:
        """The calls of a reference: inputs as they are, and with padding on each side where they can have it."""
        inputs = self.inputs(task, changes)
        found = {side: self.tests.padded(inputs, side) for side in ("left", "right")}
        return {"plain": inputs, **{side: padded for side, padded in found.items() if padded is not None}}

    # --- references and models ---------------------------------------------------------------------------------------

    def reference(
        self,
        architecture: str | None = None,
        changes: Mapping[str, Any] | None = None,
        *,
        cases: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        dtype: str | None = None,
        shard_bytes: int | None = None,
    ) -> Reference:
        """What transformers makes of the tiny model with some fields changed, and computes from `cases`."""
        self.check_written()
        architecture = architecture or self.architectures[0]
        task = self.task(architecture)
        labels = {"num_labels": 5} if self.is_labelled(architecture) else {}
        fields = merged({**self.tests.tiny, **labels}, changes or {})
        assert self.references is not None, "references are there once tests run"
        return self.references.get(
            architecture, fields, cases or self.cases(task, changes), dtype=dtype, shard_bytes=shard_bytes
        )

    def check_written(self) -> None:
        """Fail where the config class is still to be written: there is nothing to compare with transformers then."""
        from intermodal.errors import ConfigError

        with contextlib.suppress(ConfigError):
            self.config_class.from_hf(self.raw())

    def load(self, source: Reference | Path, task: str | None = None, **options: Any) -> TaskModel:
        """Load a checkpoint with this family, whatever else claims it. Warnings are the report's own matter."""
        import intermodal

        folder = source.checkpoint if isinstance(source, Reference) else source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return intermodal.load(folder, task, family=self.tests.family, progress=False, **options)

    def assert_equals_reference(
        self, model: TaskModel, reference: Reference, case: str = "plain", *, about: str, tolerance: float = TOLERANCE
    ) -> None:
        """Fail where outputs leave transformers', and name the first module that does.

        Args:
            about: what is tested, for the message.
        """
        from intermodal.testing.trace import first_difference

        expected = reference.case(case)
        got = outputs_of(model, expected.inputs)
        differing = differences(got, expected, tolerance)
        if differing:
            place = first_difference(model, reference, expected.inputs, tolerance)
            pytest.fail(f"{about}, {case} inputs: {'; '.join(differing)}.\n{place}", pytrace=False)


@functools.lru_cache(maxsize=8)
def subject_of(tests: type[FamilyTests], references: References) -> Subject:
    """The subject of a test class; its tests share one."""
    return Subject(tests, references)


def outputs_of(model: TaskModel, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a model returns, by name, as float32 arrays; a lone output is called as transformers calls it."""
    from keras import ops

    result = model(dict(inputs))
    named = result if isinstance(result, dict) else {"logits": result}
    return {name: np.asarray(ops.convert_to_numpy(ops.cast(value, "float32"))) for name, value in named.items()}


def first_off(name: str, got: Mapping[str, np.ndarray], expected: Case, allowed: float) -> str:
    """From which token on an output with a row for each token is off; empty where it is from the first, or has none."""
    off = np.abs(got[name] - expected.outputs[name]) > allowed
    shape = expected.inputs["input_ids"].shape if "input_ids" in expected.inputs else ()
    if not shape or off.shape[: len(shape)] != shape:
        return ""
    off = off.any(axis=tuple(range(len(shape), off.ndim)))
    if "attention_mask" in expected.inputs:
        off &= expected.inputs["attention_mask"].astype(bool)
    first = int(off.reshape(-1, shape[-1]).any(axis=0).argmax())
    return f", from token {first} on" if first else ""


def differences(got: Mapping[str, np.ndarray], expected: Case, tolerance: float) -> list[str]:
    """In words, each output that differs from the reference by more than `tolerance` of the largest value.

    Positions of padding are left out: nobody reads them, and libraries fill them differently.
    """
    found = []
    mask = expected.inputs.get("attention_mask")
    for name, values in got.items():
        if name not in expected.outputs:
            found.append(f"transformers returns no {name}, but {', '.join(expected.outputs)}")
            continue
        wanted = expected.outputs[name]
        if values.shape != wanted.shape:
            found.append(f"{name} has shape {values.shape}, expected {wanted.shape}")
            continue
        if mask is not None and values.shape[: mask.ndim] == mask.shape:
            values, wanted = values[mask.astype(bool)], wanted[mask.astype(bool)]
        worst, allowed = float(np.abs(values - wanted).max()), tolerance * float(np.abs(wanted).max())
        if not worst <= allowed:
            found.append(
                f"{name} differs by {worst:.3g}, allowed {allowed:.3g}{first_off(name, got, expected, allowed)}"
            )
    return found or ([] if got else ["the model returns nothing"])
