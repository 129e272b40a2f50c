"""Gemma 3 under the names that KerasHub's users know. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import CausalLMPreset, Preset


class Gemma3Backbone(Preset):
    """Gemma 3's text model without a head: called, it gives `last_hidden_state`."""

    families = ("gemma3_text",)
    task = "feature-extraction"


class Gemma3CausalLM(CausalLMPreset):
    """Gemma 3's text model as a language model, which generates as KerasHub's does."""

    families = ("gemma3_text",)
    default_sampler = "greedy"


class Gemma3TextClassifier(Preset):
    """Gemma 3's text model with a head that classifies texts."""

    families = ("gemma3_text",)
    task = "text-classification"


class Gemma3TextEmbedder(Preset):
    """Gemma 3's text model with what makes one vector of a text, as EmbeddingGemma has it."""

    families = ("gemma3_text",)
    task = "sentence-similarity"
