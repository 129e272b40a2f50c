"""What the kit's tests are repeated for, read from a family's declaration while pytest collects them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from intermodal.errors import IntermodalError
from intermodal.testing.family_tests.subject import Subject

if TYPE_CHECKING:
    from intermodal.testing.family_tests import FamilyTests

_VALUES: dict[str, Callable[[Subject], Iterable[Any]]] = {
    "variant": lambda subject: subject.variants,
    "refusal": lambda subject: subject.tests.refused,
    "architecture": lambda subject: subject.architectures,
    "labelled": lambda subject: [name for name in subject.architectures if subject.is_labelled(name)],
    "task": lambda subject: dict.fromkeys(subject.family.architectures.values()),
    "key": lambda subject: subject.tests.tiny,
    "prefix": lambda subject: subject.weight_map().prefixes,
    "vocabulary": lambda subject: subject.tests.vocabularies,
    "gguf_variant": lambda subject: subject.tests.gguf_variants if "gguf" in subject.family.dialects else (),
}


def parameters(tests: type[FamilyTests], arguments: Iterable[str]) -> dict[str, list[Any]]:
    """For each argument of a test that the kit knows: the values to repeat it for.

    A family that cannot be used gives no values, so that its tests are collected and can say what is wrong with it.
    """
    subject = Subject(tests)
    found: dict[str, list[Any]] = {}
    for argument in arguments:
        if argument in _VALUES:
            try:
                found[argument] = list(_VALUES[argument](subject))
            except (ImportError, AttributeError, IntermodalError):
                found[argument] = []
    return found
