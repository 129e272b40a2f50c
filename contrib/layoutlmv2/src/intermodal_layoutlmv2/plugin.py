"""What this package adds to intermodal: the LayoutLMv2 family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

LAYOUTLMV2 = Family(
    name="layoutlmv2",
    model_types=("layoutlmv2",),
    config="intermodal_layoutlmv2.config:LayoutLMv2Config",
    backbone="intermodal_layoutlmv2.model:LayoutLMv2Backbone",
    weight_map="intermodal_layoutlmv2.weights:weight_map",
    architectures={
        "LayoutLMv2Model": "feature-extraction",
        "LayoutLMv2ForTokenClassification": "token-classification",
        "LayoutLMv2ForSequenceClassification": "text-classification",
        "LayoutLMv2ForQuestionAnswering": "document-question-answering",
    },
    image_processor="intermodal_layoutlmv2.processor:LayoutLMv2ImageProcessor",
    processor="intermodal_layoutlmv2.processor:LayoutLMv2Processor",
    refused={
        "layoutlm": "LayoutLM reads no image; it is a family of its own",
        "layoutlmv3": "LayoutLMv3 has patches for a visual backbone; it is a family of its own",
        "lilt": "LiLT has two streams, of text and layout; it is a family of its own",
        "LayoutLMv2ForRelationExtraction": "its head, of Microsoft's own code, pairs entities that are given to it",
        "LayoutLMv2ForPretraining": "its heads are of Microsoft's own code, and transformers has none of them",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the LayoutLMv2 family."""
    return [LAYOUTLMV2]
