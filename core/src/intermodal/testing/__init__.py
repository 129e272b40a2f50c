"""What plugin authors test with: the conformance kit, and a Hugging Face Hub on the loopback interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.testing.family_tests import FamilyTests
    from intermodal.testing.family_tests.variants import Variant

__all__ = ["FamilyTests", "Variant"]


def __getattr__(name: str) -> Any:
    # pytest imports this package for its plugin in every project where intermodal is installed, so it stays light.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intermodal.testing import family_tests

    return getattr(family_tests, name)
