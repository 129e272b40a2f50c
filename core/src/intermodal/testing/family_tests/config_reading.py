"""Kit: a config.json is read as transformers reads it, whatever it leaves out and whoever wrote it."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

from intermodal.config import ModelConfig
from intermodal.errors import ConfigError
from intermodal.testing.family_tests.config_fields import said
from intermodal.testing.family_tests.subject import Subject


class ConfigReadingTests:
    """Defaults, nulls, spellings and exports against transformers' config class."""

    @pytest.mark.reference
    def test_empty_config_is_transformers_default(self, subject: Subject) -> None:
        """Every default."""
        _assert_read_alike(subject, {"model_type": subject.config_class.model_types[0]}, "an empty config")

    @pytest.mark.reference
    def test_absent_key_is_transformers_default(self, key: str, subject: Subject) -> None:
        """Each key left out in turn: its default, or what derives from the others."""
        raw = {name: value for name, value in subject.raw().items() if name != key}
        _assert_read_alike(subject, raw, f"a config without {key}", key)

    @pytest.mark.reference
    def test_null_is_what_transformers_makes_of_it(self, key: str, subject: Subject) -> None:
        """Null is not absent: each key set to it in turn. What transformers 4 took and 5 refuses may be read."""
        raw = {**subject.raw(), key: None}
        try:
            _transformers_reading(subject, raw)
        except Exception:
            return
        _assert_read_alike(subject, raw, f"{key} = null", key)

    @pytest.mark.reference
    def test_both_spellings_say_the_same(self, variant: str, subject: Subject) -> None:
        """What transformers 5 saves, and the same as transformers 4 wrote it."""
        chosen = subject.variants[variant]
        raw = subject.reference(chosen.architecture, chosen.changes).raw
        try:
            config = subject.config_class.from_hf(raw)[0]
        except ConfigError as error:
            if chosen.may_be_refused:
                return
            pytest.fail(f"what transformers {raw['transformers_version']} saves is refused: {error}", pytrace=False)
        older = subject.tests.older_spelling(raw)
        about = f"{said(chosen.changes)} as transformers 4 wrote it"
        _assert_same(subject.config_class.from_hf(older)[0], config, about)
        _assert_read_alike(subject, older, about)

    @pytest.mark.reference
    def test_exported_config_is_the_same_to_transformers(self, variant: str, subject: Subject) -> None:
        """What we write, as transformers reads it."""
        chosen = subject.variants[variant]
        try:
            config = subject.config_class.from_hf(subject.raw(chosen.changes))[0]
        except ConfigError:
            if chosen.may_be_refused:
                return
            raise
        exported = config.to_hf(architectures=(chosen.architecture or subject.architectures[0],), dtype="float32")
        _assert_same(subject.config_class.from_hf(exported)[0], config, "an exported config, read again")
        _assert_read_alike(subject, exported, f"an exported config ({said(chosen.changes)})")


def _assert_read_alike(subject: Subject, raw: dict[str, Any], about: str, key: str = "") -> None:
    """Fail unless we read a config.json as transformers does, or refuse it where it does, or by naming `key`.

    transformers writes every field with its default when asked for a dict; reading that has to give the same config.
    """
    refused: ConfigError | None = None
    ours: ModelConfig | None = None
    try:
        ours = subject.config_class.from_hf(raw)[0]
    except ConfigError as error:
        refused = error
    try:
        theirs = _transformers_reading(subject, raw)
    except Exception as error:
        if refused is None:
            pytest.fail(f"{about}: transformers refuses it ({error}), and we do not", pytrace=False)
        return
    if refused is not None:
        if not key or key not in str(refused):
            pytest.fail(f"{about}: transformers reads it, and we refuse it: {refused}", pytrace=False)
        return
    assert ours is not None
    try:
        expected = subject.config_class.from_hf(theirs, strict=False)[0]
    except ConfigError as error:
        pytest.fail(f"{about}: what transformers makes of it is refused: {error}", pytrace=False)
    _assert_same(ours, expected, about)


def _transformers_reading(subject: Subject, raw: dict[str, Any]) -> dict[str, Any]:
    import transformers

    config_class = getattr(transformers, subject.architectures[0]).config_class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return config_class.from_dict(copy.deepcopy(raw)).to_dict()


def _assert_same(ours: ModelConfig, expected: ModelConfig, about: str) -> None:
    from dataclasses import fields

    differing = [
        f"{item.name} is {getattr(ours, item.name)!r}, transformers has {getattr(expected, item.name)!r}"
        for item in fields(ours)
        if item.compare and getattr(ours, item.name) != getattr(expected, item.name)
        if item.name not in ("architectures", "id2label", "label2id")  # transformers writes placeholders
    ]
    assert not differing, f"{about}: " + "; ".join(differing)
    assert ours.num_labels == expected.num_labels, f"{about}: {ours.num_labels} labels, not {expected.num_labels}"
