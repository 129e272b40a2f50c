"""What this package adds to intermodal: the DistilBERT family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

DISTILBERT = Family(
    name="distilbert",
    model_types=("distilbert",),
    config="intermodal_distilbert.config:DistilBertConfig",
    backbone="intermodal_distilbert.model:DistilBertBackbone",
    weight_map="intermodal_distilbert.weights:weight_map",
    architectures={
        "DistilBertModel": "feature-extraction",
        "DistilBertForMaskedLM": "fill-mask",
        "DistilBertForSequenceClassification": "text-classification",
        "DistilBertForTokenClassification": "token-classification",
        "DistilBertForQuestionAnswering": "question-answering",
        "DistilBertForMultipleChoice": "multiple-choice",
    },
    task_classes={"sentence-similarity": "intermodal.api:SentenceEmbedding"},
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the DistilBERT family."""
    return [DISTILBERT]
