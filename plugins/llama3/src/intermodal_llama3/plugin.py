"""What this package adds to intermodal: the Llama family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

LLAMA = Family(
    name="llama",
    model_types=("llama", "gguf.llama"),
    config="intermodal_llama3.config:LlamaConfig",
    backbone="intermodal_llama3.model:LlamaBackbone",
    weight_map="intermodal_llama3.weights:weight_map",
    architectures={
        "LlamaForCausalLM": "text-generation",
        "LlamaModel": "feature-extraction",
        "LlamaForSequenceClassification": "text-classification",
        "LlamaForTokenClassification": "token-classification",
        "LlamaForQuestionAnswering": "question-answering",
    },
    dialects={"gguf": "intermodal_llama3.gguf:config_from_gguf"},
    refused={
        "mllama": "Llama 3.2 Vision adds cross-attention layers and an image encoder; it is a family of its own",
        "MllamaForConditionalGeneration": "it has cross-attention layers and an image encoder",
        "llama4": "Llama 4 has experts, chunked attention and an image encoder; it is a family of its own",
        "llama4_text": "Llama 4 has experts and chunked attention; it is a family of its own",
        "Llama4ForCausalLM": "it has experts and chunked attention",
        "Llama4ForConditionalGeneration": "it has experts, chunked attention and an image encoder",
        "LlamaForCausalLMEagle": "it is a draft model that reads another model's hidden states",
        "LlamaForCausalLMEagle3": "it is a draft model that reads another model's hidden states",
        "LlavaForConditionalGeneration": "it has an image encoder",
        "LlavaLlamaForCausalLM": "it has an image encoder, and code of its own",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the Llama family: Llama 1, 2, 3, 3.1, 3.2 (text) and 3.3, and what shares their architecture."""
    return [LLAMA]
