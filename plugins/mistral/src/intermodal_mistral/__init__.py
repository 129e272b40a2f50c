"""The Mistral family for intermodal: Mistral 7B, Nemo, Small, Large (all text) and Ministral 8B."""

from intermodal_mistral.presets import (
    MistralBackbone,
    MistralCausalLM,
    MistralQuestionAnswerer,
    MistralTextClassifier,
    MistralTokenClassifier,
)

__all__ = [
    "MistralBackbone",
    "MistralCausalLM",
    "MistralQuestionAnswerer",
    "MistralTextClassifier",
    "MistralTokenClassifier",
]
