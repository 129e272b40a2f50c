"""Kit: every field of a config at another value gives transformers' numbers, or a refusal by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from intermodal.errors import ConfigError, IntermodalError
from intermodal.testing.family_tests.subject import TOLERANCE, Subject
from intermodal.testing.family_tests.variants import UNVARIED
from intermodal.unfinished import FILL_IN


class ConfigFieldTests:
    """Numbers of each variant."""

    def test_every_field_has_a_variant(self, subject: Subject) -> None:
        """No field is left out in silence."""
        covered = {key for variant in subject.variants.values() for key in variant.changes}
        covered |= subject.refused_fields | {*UNVARIED, *subject.tests.unvaried}
        if "rope_parameters" in covered:  # the older spellings are read in a test of their own
            covered |= {"rope_theta", "rope_scaling"}
        open_fields = sorted({*subject.config_class.checks(), *subject.config_class.spelled_keys} - covered)
        assert not open_fields, (
            f"no variant changes {', '.join(open_fields)}: add one to `variants`, or to `refused`, or say in "
            "`unvaried` why no test can see it"
        )
        known = {*subject.config_class.checks(), *subject.config_class.spelled_keys}
        unknown = sorted(set(subject.tests.unvaried) - known)
        unsaid = [field for field, why in subject.tests.unvaried.items() if why.startswith(FILL_IN)]
        assert not unsaid, (
            f"`unvaried` of {inspect.getsourcefile(subject.tests)} does not say yet why: {', '.join(unsaid)}"
        )
        assert not unknown, f"`unvaried` names {', '.join(unknown)}, which the config class does not read"

    @pytest.mark.backend
    def test_variant(self, variant: str, subject: Subject) -> None:
        """The outputs are transformers', in float32, to 1e-4 of their scale."""
        chosen = subject.variants[variant]
        reference = subject.reference(chosen.architecture, chosen.changes)
        about = f"variant {variant!r} ({said(chosen.changes)})"
        try:
            model = subject.load(reference)
        except IntermodalError as error:
            if chosen.may_be_refused and isinstance(error, ConfigError) and named(chosen.changes, str(error)):
                return
            pytest.fail(f"{about} is not loaded: {type(error).__name__}: {error}", pytrace=False)
        subject.assert_equals_reference(model, reference, about=about)

    def test_variant_has_an_effect(self, variant: str, subject: Subject) -> None:
        """Without each of the changes, transformers' outputs are others: else the test sees nothing."""
        chosen = subject.variants[variant]
        reference = subject.reference(chosen.architecture, chosen.changes)
        for key in chosen.changes:
            others = {name: value for name, value in chosen.changes.items() if name != key}
            try:
                without = subject.reference(chosen.architecture, others)
            except RuntimeError:  # transformers itself needs the key
                continue
            differ = any(_differ(a, without.case("plain").outputs.get(n)) for n, a in outputs(reference).items())
            assert differ or chosen.same, (
                f"variant {variant!r}: {said({key: chosen.changes[key]})} changes nothing in transformers' outputs, so "
                "a model that ignores it would pass. Choose a larger value, or say why in Variant(…, same=…)"
            )
            assert not differ or not chosen.same, f"variant {variant!r} says {chosen.same!r}, but outputs differ"

    def test_refusal(self, refusal: str, subject: Subject) -> None:
        """What cannot be honoured is refused, and named."""
        changes = subject.tests.refused[refusal]
        try:
            subject.config_class.from_hf(subject.raw(changes))
        except ConfigError as error:
            message = str(error)
        else:
            pytest.fail(f"{said(changes)} is accepted, and had to be refused", pytrace=False)
        assert named(changes, message), f"the refusal of {said(changes)} does not name it: {message}"


def outputs(reference: Any) -> dict[str, np.ndarray]:
    """transformers' outputs of a reference for plain inputs."""
    return reference.case("plain").outputs


def said(changes: Mapping[str, Any]) -> str:
    """Fields as a message shows them."""
    from intermodal.config.fields import summary

    return ", ".join(f"{key} = {summary(value)}" for key, value in changes.items()) or "no change"


def named(changes: Mapping[str, Any], text: str) -> bool:
    """Whether a message names one of the fields."""
    return any(key in text for key in changes)


def _differ(values: np.ndarray, other: np.ndarray | None) -> bool:
    """Whether outputs differ by so much that a model which had one of them for the other would fail."""
    if other is None or values.shape != other.shape:
        return True
    return bool(np.abs(values - other).max() > 3 * TOLERANCE * np.abs(other).max())
