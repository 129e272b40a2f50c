"""What plugin authors test with: the conformance kit, and a Hugging Face Hub on the loopback interface."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.testing.decoders import ROPE_REFUSED, ROPE_VARIANTS, TINY_DECODER, decoder_gguf_metadata
    from intermodal.testing.family_tests import FamilyTests
    from intermodal.testing.family_tests.variants import Variant

_KIT = ("FamilyTests", "Variant")
__all__ = ["ROPE_REFUSED", "ROPE_VARIANTS", "TINY_DECODER", "FamilyTests", "Variant", "decoder_gguf_metadata"]


def __getattr__(name: str) -> Any:
    # pytest imports this package for its plugin in every project where intermodal is installed, so it stays light.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "intermodal.testing.family_tests" if name in _KIT else "intermodal.testing.decoders"
    return getattr(importlib.import_module(home), name)
