"""Llama under the names that KerasHub's users know. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import CausalLMPreset, Preset


class Llama3Backbone(Preset):
    """Llama without a head: called, it gives `last_hidden_state`."""

    families = ("llama",)
    task = "feature-extraction"


class Llama3CausalLM(CausalLMPreset):
    """Llama as a language model, which generates as KerasHub's does."""

    families = ("llama",)


class Llama3TextClassifier(Preset):
    """Llama with a head that classifies texts."""

    families = ("llama",)
    task = "text-classification"


class Llama3TokenClassifier(Preset):
    """Llama with a head that classifies tokens."""

    families = ("llama",)
    task = "token-classification"


class Llama3QuestionAnswerer(Preset):
    """Llama with a head that finds an answer's first and last token."""

    families = ("llama",)
    task = "question-answering"
