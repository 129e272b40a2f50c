"""Kit: keys that a config class calls inert change nothing in transformers either."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intermodal.testing.family_tests.subject import Subject


class ConfigInertTests:
    """A field that is called inert escapes every comparison of fields, so transformers is asked for its effect."""

    @pytest.mark.reference
    def test_inert_keys_change_no_output(self, subject: Subject) -> None:
        """transformers' outputs are the same to the bit with another value of each."""
        expected = subject.reference().case("plain").outputs
        inert, _ = subject.config_class.tables()
        wrong = []
        for key, value in _other_values(subject, {*inert}):
            try:
                reference = subject.reference(None, {key: value})
            except RuntimeError:  # transformers does not take this value
                continue
            got = reference.case("plain").outputs
            if any(name not in got or not np.array_equal(got[name], values) for name, values in expected.items()):
                wrong.append(f"{key} is called inert ({inert[key]}), and transformers' outputs change at {value!r}")
        assert not wrong, "\n".join(wrong)


def _other_values(subject: Subject, inert: set[str]) -> list[tuple[str, Any]]:
    """Another value for each inert key that is a field of transformers' own class for this model, or in our table."""
    import transformers

    config_class = getattr(transformers, subject.architectures[0]).config_class
    defaults = config_class().to_dict()
    fields = set(getattr(config_class, "__annotations__", {})) | set(subject.config_class.inert_keys)
    found: list[tuple[str, Any]] = []
    for key in sorted(fields & inert):
        match subject.tests.tiny.get(key, defaults.get(key)):
            case bool(value):
                found.append((key, not value))
            case int(value):
                found.append((key, 2 * value + 1))
            case float(value):
                found.append((key, value / 2 + 0.4))
    return found
