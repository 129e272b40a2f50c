"""Mistral under the names that KerasHub's users know. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import CausalLMPreset, Preset


class MistralBackbone(Preset):
    """Mistral without a head: called, it gives `last_hidden_state`."""

    families = ("mistral",)
    task = "feature-extraction"


class MistralCausalLM(CausalLMPreset):
    """Mistral as a language model, which generates as KerasHub's does."""

    families = ("mistral",)


class MistralTextClassifier(Preset):
    """Mistral with a head that classifies texts."""

    families = ("mistral",)
    task = "text-classification"


class MistralTokenClassifier(Preset):
    """Mistral with a head that classifies tokens."""

    families = ("mistral",)
    task = "token-classification"


class MistralQuestionAnswerer(Preset):
    """Mistral with a head that finds an answer's first and last token."""

    families = ("mistral",)
    task = "question-answering"
