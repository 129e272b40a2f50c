"""The Gemma 3 family for intermodal."""

from intermodal_gemma3.presets import (
    Gemma3Backbone,
    Gemma3CausalLM,
    Gemma3TextClassifier,
    Gemma3TextEmbedder,
)

__all__ = ["Gemma3Backbone", "Gemma3CausalLM", "Gemma3TextClassifier", "Gemma3TextEmbedder"]
