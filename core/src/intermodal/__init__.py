"""Hugging Face checkpoints as Keras 3 models on JAX, PyTorch and TensorFlow, and back.

Every public name is imported when it is first used: `import intermodal` alone pulls in neither Keras nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.auto.config import AutoConfig
    from intermodal.auto.models import (
        AutoModel,
        AutoModelForAudioClassification,
        AutoModelForAudioFrameClassification,
        AutoModelForAudioXVector,
        AutoModelForCausalLM,
        AutoModelForCTC,
        AutoModelForDocumentQuestionAnswering,
        AutoModelForImageClassification,
        AutoModelForImageTextToText,
        AutoModelForMaskedLM,
        AutoModelForMultipleChoice,
        AutoModelForNextSentencePrediction,
        AutoModelForPreTraining,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )
    from intermodal.auto.processors import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor
    from intermodal.auto.tokenizer import AutoTokenizer
    from intermodal.conversion import convert
    from intermodal.errors import IntermodalError
    from intermodal.inspection import inspect
    from intermodal.loading import load
    from intermodal.pipelines import pipeline
    from intermodal.sources.login import login

    __version__: str

__all__ = [
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForAudioClassification",
    "AutoModelForAudioFrameClassification",
    "AutoModelForAudioXVector",
    "AutoModelForCTC",
    "AutoModelForCausalLM",
    "AutoModelForDocumentQuestionAnswering",
    "AutoModelForImageClassification",
    "AutoModelForImageTextToText",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoProcessor",
    "AutoTokenizer",
    "IntermodalError",
    "__version__",
    "convert",
    "inspect",
    "load",
    "login",
    "pipeline",
]

# The modules are called otherwise than the functions: a submodule of the same name would take the function's place.
_HOMES = {
    **dict.fromkeys((name for name in __all__ if name.startswith("AutoModel")), "intermodal.auto.models"),
    **dict.fromkeys(("AutoFeatureExtractor", "AutoImageProcessor", "AutoProcessor"), "intermodal.auto.processors"),
    "AutoConfig": "intermodal.auto.config",
    "AutoTokenizer": "intermodal.auto.tokenizer",
    "IntermodalError": "intermodal.errors",
    "convert": "intermodal.conversion",
    "inspect": "intermodal.inspection",
    "load": "intermodal.loading",
    "login": "intermodal.sources.login",
    "pipeline": "intermodal.pipelines",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from intermodal.catalog import running_version

        return running_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
