"""Kit: checkpoints as they are found: in shards, under other prefixes and older names, tied with and without a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from intermodal.errors import WeightError
from intermodal.testing.family_tests.subject import Subject, differences, outputs_of
from intermodal.testing.references import Reference
from intermodal.weights.map import Prefix, prefixed, unprefixed

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

TIE = "tie_word_embeddings"
Tensors = Mapping[str, np.ndarray]


class CheckpointTests:
    """Other forms of one checkpoint, each of which has to give the same variables."""

    def test_prefix(self, prefix: Prefix, subject: Subject, tmp_path: Path) -> None:
        """Backbone names under each prefix that the map knows."""
        own, head = subject.weight_map().prefix, {w.name for w in subject.weight_map().weights if w.head}

        def renamed(tensors: Tensors) -> Tensors:
            return {n if n in head else prefixed(prefix, unprefixed(own, n)): values for n, values in tensors.items()}

        assert_same_variables(subject, rewritten(subject.reference(), tmp_path, renamed), f"prefix {prefix!r}")

    def test_shards(self, subject: Subject) -> None:
        """Several files and an index."""
        sharded = subject.reference(shard_bytes=20_000)
        assert len(list(sharded.checkpoint.glob("*.safetensors"))) > 1, "the tiny model is too small to be sharded"
        assert_same_variables(subject, sharded.checkpoint, "in shards")

    def test_legacy_names(self, subject: Subject, tmp_path: Path) -> None:
        """Each older spelling of a name."""
        weights = [weight for weight in subject.weight_map().weights if weight.legacy]
        subject.needs("legacy names", bool(weights))
        prefix = subject.weight_map().prefix
        for spelling in range(max(len(weight.legacy) for weight in weights)):
            older = {
                prefixed("" if weight.head else prefix, weight.name): prefixed(
                    "" if weight.head else prefix, weight.legacy[spelling]
                )
                for weight in weights
                if spelling < len(weight.legacy)
            }

            def renamed(tensors: Tensors, older: Mapping[str, str] = older) -> Tensors:
                return {older.get(name, name): values for name, values in tensors.items()}

            folder = rewritten(subject.reference(), tmp_path / str(spelling), renamed)
            assert_same_variables(subject, folder, f"with names {sorted(older.values())[:4]}")

    def test_tied_without_head_tensor(self, subject: Subject) -> None:
        """What transformers saves of a tied model: the head is the embedding."""
        reference, _, tied = _tied(subject)
        stored = set(_tensors(reference.checkpoint))
        assert not stored & set(tied), "transformers saved the tied tensor; the reference is not tied"
        try:
            model = subject.load(reference)
        except WeightError as error:
            pytest.fail(f"{TIE} = true, and the map ties nothing to the embedding: {error}", pytrace=False)
        assert model.report is not None
        assert model.report.tied == tied

    def test_tied_with_a_copy_of_the_head(self, subject: Subject, tmp_path: Path) -> None:
        """Older savers write the tied head as well."""
        reference, whole, tied = _tied(subject)

        def copied(tensors: Tensors) -> Tensors:
            return {**tensors, **{name: tensors[whole[target]].copy() for name, target in tied.items()}}

        model = subject.load(rewritten(reference, tmp_path, copied))
        assert model.report is not None
        assert model.report.tied == tied
        expected = reference.case("plain")
        assert not differences(outputs_of(model, expected.inputs), expected, 1e-4)

    def test_tied_with_another_head_is_refused(self, subject: Subject, tmp_path: Path) -> None:
        """A head that is not the embedding, under a config that ties the two."""
        reference, whole, tied = _tied(subject)

        def another(tensors: Tensors) -> Tensors:
            return {**tensors, **{name: tensors[whole[target]] + 1 for name, target in tied.items()}}

        with pytest.raises(WeightError, match=TIE):
            subject.load(rewritten(reference, tmp_path, another))

    def test_untied_without_a_head_is_refused(self, subject: Subject, tmp_path: Path) -> None:
        """Nothing is tied in silence."""
        reference, _, tied = _tied(subject)
        with pytest.raises(WeightError) as caught:
            subject.load(rewritten(reference, tmp_path, lambda tensors: tensors, **{TIE: False}))
        for name in tied:
            assert name in str(caught.value), f"{name} is missing, and the error does not name it: {caught.value}"


def _tied(subject: Subject) -> tuple[Reference, dict[str, str], dict[str, str]]:
    """A tied reference, the tensors' full names by weight, and the ties that the map declares for it."""
    subject.needs(f"field {TIE}", TIE in subject.config_class.checks())
    for architecture in subject.architectures:
        weight_map = subject.weight_map({TIE: True}, architecture)
        tied = {weight.name: weight.tied_to for weight in weight_map.weights if weight.tied_to}
        if tied:
            leads = {True: "", False: weight_map.prefix}
            whole = {weight.name: prefixed(leads[weight.head], weight.name) for weight in weight_map.weights}
            return subject.reference(architecture, {TIE: True}), whole, tied
    pytest.fail(f"{TIE} = true, and the weight map of no architecture ties anything", pytrace=False)


def rewritten(reference: Reference, folder: Path, change: Callable[[Tensors], Tensors], **config: object) -> Path:
    """A copy of a checkpoint with other tensors, and other config keys (None takes one out)."""
    from safetensors.numpy import save_file

    target = folder / "checkpoint"
    shutil.copytree(reference.checkpoint, target)
    tensors = dict(change(_tensors(reference.checkpoint)))
    save_file({n: np.ascontiguousarray(v) for n, v in tensors.items()}, target / "model.safetensors", {"format": "pt"})
    raw = {key: value for key, value in {**reference.raw, **config}.items() if value is not None}
    (target / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    return target


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def assert_same_variables(subject: Subject, folder: Path, about: str) -> None:
    """Fail unless a checkpoint gives the variables of the plain one, bit for bit."""
    expected, got = (variables_of(subject.load(path)) for path in (subject.reference().checkpoint, folder))
    assert got.keys() == expected.keys(), f"{about}: {sorted(got.keys() ^ expected.keys())[:8]} are not in both"
    differing = [name for name, values in got.items() if not np.array_equal(values, expected[name])]
    assert not differing, f"{about}: {', '.join(differing[:8])} came out with other values"


def variables_of(model: TaskModel) -> dict[str, np.ndarray]:
    """The values of every variable of a model, by name."""
    from intermodal.weights.memory import from_backend

    return {name: from_backend(v.value) for part in model.parts() for name, v in part.by_name.items()}
