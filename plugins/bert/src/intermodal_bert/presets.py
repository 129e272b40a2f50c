"""BERT under the names that KerasHub's users know. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Preset


class BertBackbone(Preset):
    """BERT without a head: called, it gives `last_hidden_state`, and `pooler_output` where it has a pooler."""

    families = ("bert",)
    task = "feature-extraction"


class BertMaskedLM(Preset):
    """BERT with the head that fills masks."""

    families = ("bert",)
    task = "fill-mask"


class BertTextClassifier(Preset):
    """BERT with a head that classifies texts."""

    families = ("bert",)
    task = "text-classification"


class BertTokenClassifier(Preset):
    """BERT with a head that classifies tokens."""

    families = ("bert",)
    task = "token-classification"


class BertQuestionAnswerer(Preset):
    """BERT with a head that finds an answer's first and last token."""

    families = ("bert",)
    task = "question-answering"


class BertNextSentencePredictor(Preset):
    """BERT with the head that tells whether a second text follows the first."""

    families = ("bert",)
    task = "next-sentence-prediction"


class BertMultipleChoice(Preset):
    """BERT with a head that gives each of several texts a score."""

    families = ("bert",)
    task = "multiple-choice"


class BertPretrainer(Preset):
    """BERT with both heads that it was pretrained with."""

    families = ("bert",)
    task = "pretraining"


class BertTextEmbedder(Preset):
    """BERT with what makes one vector of a text."""

    families = ("bert",)
    task = "sentence-similarity"
