"""Kit: every element of a checkpoint has one place in the model, and the other way round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from intermodal.errors import WeightError
from intermodal.testing.family_tests.subject import Subject
from intermodal.weights.map import prefixed

if TYPE_CHECKING:
    from intermodal.checkpoints.base import TensorInfo
    from intermodal.examination import Examined
    from intermodal.weights.plan import Plan


class WeightTests:
    """The weight map against the tensors that transformers saves. Nothing is computed, only headers are read."""

    def test_every_element_has_one_place(self, architecture: str, subject: Subject) -> None:
        """Each element of the files fills one of the model, and each of the model is filled once."""
        examined = examine_reference(subject, architecture)
        wrong = [*_places_in_checkpoint(examined), *_places_in_model(examined)]
        assert not wrong, "\n".join(wrong)

    def test_transforms_have_exact_inverses(self, architecture: str, subject: Subject) -> None:
        """What a transform does on loading, it undoes on export; shapes are as it declares."""
        random = np.random.default_rng(0)
        for weight in examine_reference(subject, architecture).weight_map.weights:
            for dialect, alias in weight.aliases.items():
                values = random.standard_normal(weight.shape).astype("float32")
                stored = alias.transform.export(values)
                about = f"{weight.name}: {type(alias.transform).__name__} of dialect {dialect}"
                expected = alias.transform.stored_shape(weight.shape)
                assert stored.shape == expected, f"{about} gives {stored.shape} and declares {expected}"
                # a transform may shift values, which rounds; none may move them
                np.testing.assert_allclose(alias.transform.load(stored), values, rtol=1e-6, atol=1e-6, err_msg=about)

    def test_every_missing_tensor_is_named(self, architecture: str, subject: Subject) -> None:
        """Each tensor taken out in turn: an error names it, or the report, where the map says that it may be absent."""
        examined = examine_reference(subject, architecture)
        for name, message in _refusals(examined, dict.fromkeys(_read(examined))):
            assert name in message, f"{name} is taken out of the checkpoint, and nothing is said: {message}"

    def test_every_misshapen_tensor_is_named(self, architecture: str, subject: Subject) -> None:
        """Each tensor with a row too many in turn."""
        examined = examine_reference(subject, architecture)
        changed = {
            name: dataclasses.replace(info, shape=(info.shape[0] + 1, *info.shape[1:]))
            for name, info in examined.checkpoint.tensors.items()
            if name in _read(examined) and info.shape
        }
        for name, message in _refusals(examined, changed):
            assert name in message, f"{name} has a row too many, and nothing is said: {message}"

    def test_unexpected_tensors_are_named(self, architecture: str, subject: Subject) -> None:
        """A tensor too many."""
        examined = examine_reference(subject, architecture)
        known = next(iter(_read(examined).values()))
        extra = {name: dataclasses.replace(known, name=name) for name in ("surplus.weight", f"{known.name}.surplus")}
        for name, message in _refusals(examined, extra):
            assert name in message, f"{name} is in the checkpoint besides, and nothing is said: {message}"

    def test_what_is_ignored_has_a_reason_and_is_no_weight(self, architecture: str, subject: Subject) -> None:
        """No weight is among what a map leaves alone."""
        examined = examine_reference(subject, architecture)
        for rule in examined.weight_map.ignored:
            assert rule.reason.strip(), f"tensors {rule.pattern} are ignored without a reason"
            read = [name for name in _read(examined) if rule.matches(name)]
            assert not read, f"{read} are weights, and the pattern {rule.pattern} ignores them"


def examine_reference(subject: Subject, architecture: str) -> Examined:
    """The checkpoint of the tiny model, its weight map and plan."""
    from intermodal.examination import examine

    return examine(str(subject.reference(architecture).checkpoint), family=subject.tests.family)


def _read(examined: Examined) -> dict[str, TensorInfo]:
    """The tensors that fill a variable."""
    return {piece.source.name: piece.source for pieces in examined.plan.pieces.values() for piece in pieces}


def _places_in_checkpoint(examined: Examined) -> Iterator[str]:
    """A sentence for each tensor with an element that fills no variable, or more than one."""
    plan = examined.plan
    uses = {name: np.zeros(info.shape, int) for name, info in examined.checkpoint.tensors.items()}
    for pieces in plan.pieces.values():
        for piece in pieces:
            uses[piece.source.name][piece.alias.part.index() if piece.alias.part else ...] += 1
    spare = {*plan.ignored, *(copy.name for copy in plan.tied_copies.values())}
    for name, counts in uses.items():
        if name not in spare and not (counts == 1).all():
            yield f"tensor {name}: {(counts == 0).sum()} elements fill no variable, {(counts > 1).sum()} more than one"
        if name in plan.ignored:
            yield f"tensor {name} of transformers' own checkpoint is ignored: {plan.ignored[name]}"


def _places_in_model(examined: Examined) -> Iterator[str]:
    """A sentence for each variable with an element that nothing fills, or that is filled twice."""
    for variable in examined.plan.variables:
        filled = np.zeros(variable.shape, int)
        for piece in examined.plan.pieces.get(variable.name, ()):
            part = filled[piece.place.index()] if piece.place else filled
            if part.shape != piece.weight.shape:
                yield f"{piece.weight.name} has shape {piece.weight.shape}, its place in {variable.name} {part.shape}"
            part += 1
        if not (filled == 1).all():
            empty, twice = (filled == 0).sum(), (filled > 1).sum()
            yield f"variable {variable.name}: {empty} elements are filled by nothing, {twice} twice"


def _refusals(examined: Examined, changes: Mapping[str, TensorInfo | None]) -> Iterator[tuple[str, str]]:
    """For each change to the list of tensors (None takes one out): its name and the error's message, or nothing."""
    for name, info in changes.items():
        tensors = {**examined.checkpoint.tensors, **({name: info} if info else {})}
        if info is None:
            tensors.pop(name)
        try:
            plan = _plan(examined, tensors)
        except WeightError as error:
            yield name, str(error)
        else:
            left_out = ", ".join(prefixed(plan.prefix, weight) for weight in plan.left_out)
            yield name, f"no error; the report says that these were left out: {left_out or 'none'}"


def _plan(examined: Examined, tensors: Mapping[str, TensorInfo]) -> Plan:
    from intermodal.weights.plan import make_plan

    return make_plan(examined.weight_map, tensors, examined.checkpoint.dialect)
