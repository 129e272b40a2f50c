"""What this package adds to intermodal: the BERT family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

_OTHER_NAMES = "its tensors have other names and its positions another offset; it is a family of its own"

BERT = Family(
    name="bert",
    model_types=("bert", "gguf.bert"),
    config="intermodal_bert.config:BertConfig",
    backbone="intermodal_bert.model:BertBackbone",
    weight_map="intermodal_bert.weights:weight_map",
    architectures={
        "BertModel": "feature-extraction",
        "BertForMaskedLM": "fill-mask",
        "BertForPreTraining": "pretraining",
        "BertForNextSentencePrediction": "next-sentence-prediction",
        "BertForSequenceClassification": "text-classification",
        "BertForTokenClassification": "token-classification",
        "BertForQuestionAnswering": "question-answering",
        "BertForMultipleChoice": "multiple-choice",
    },
    dialects={"gguf": "intermodal_bert.gguf:config_from_gguf"},
    task_classes={"sentence-similarity": "intermodal.api:SentenceEmbedding"},
    refused={
        "BertLMHeadModel": "it is a decoder: attention looks back only",
        "roberta": _OTHER_NAMES,
        "xlm-roberta": _OTHER_NAMES,
        "camembert": _OTHER_NAMES,
        "RobertaModel": _OTHER_NAMES,
        "XLMRobertaModel": _OTHER_NAMES,
        "distilbert": "it has no token types and no pooler, and other tensor names; it is a family of its own",
        "modernbert": "ModernBERT has rotary positions, gated layers and windows; it is a family of its own",
        "nomic_bert": "Nomic BERT has rotary positions and gated layers; it is a family of its own",
        "NomicBertModel": "it has rotary positions and gated layers",
        "JinaBertForMaskedLM": "it has linear biases instead of positions, and gated layers",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the BERT family."""
    return [BERT]
