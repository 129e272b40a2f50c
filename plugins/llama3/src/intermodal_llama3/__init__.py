"""The Llama family for intermodal: Llama 1, 2, 3, 3.1, 3.2 (text) and 3.3."""

from intermodal_llama3.presets import (
    Llama3Backbone,
    Llama3CausalLM,
    Llama3QuestionAnswerer,
    Llama3TextClassifier,
    Llama3TokenClassifier,
)

__all__ = [
    "Llama3Backbone",
    "Llama3CausalLM",
    "Llama3QuestionAnswerer",
    "Llama3TextClassifier",
    "Llama3TokenClassifier",
]
