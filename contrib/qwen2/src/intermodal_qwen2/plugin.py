"""What this package adds to intermodal: the Qwen2 family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

QWEN2 = Family(
    name="qwen2",
    model_types=("qwen2", "gguf.qwen2"),
    config="intermodal_qwen2.config:Qwen2Config",
    backbone="intermodal_qwen2.model:Qwen2Backbone",
    weight_map="intermodal_qwen2.weights:weight_map",
    architectures={
        "Qwen2ForCausalLM": "text-generation",
        "Qwen2Model": "feature-extraction",
        "Qwen2ForSequenceClassification": "text-classification",
        "Qwen2ForTokenClassification": "token-classification",
        "Qwen2ForQuestionAnswering": "question-answering",
    },
    dialects={"gguf": "intermodal_qwen2.gguf:config_from_gguf"},
    refused={
        "qwen2_moe": "it has a mixture of experts",
        "Qwen2MoeForCausalLM": "it has a mixture of experts",
        "qwen2_vl": "it has an image encoder and rotates positions in three dimensions",
        "qwen2_5_vl": "it has an image encoder and rotates positions in three dimensions",
        "qwen2_audio": "it has an audio encoder",
        "Qwen2ForRewardModel": "its head has two layers, and its code is the repository's own",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the Qwen2 family: Qwen2 and Qwen2.5, and what shares their architecture."""
    return [QWEN2]
