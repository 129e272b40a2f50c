"""What this package adds to intermodal: the Mistral family. Importing it loads nothing heavy."""

from __future__ import annotations

import warnings
from typing import Any

from intermodal.api import Family, hookimpl

_VISION = "it has an image encoder; it is a family of its own"
_EXPERTS = "it has a mixture of experts; it is a family of its own"
_SCALED = "it scales queries by their position (llama_4_scaling_beta); it is a family of its own"
_AUDIO = "it has an audio encoder; it is a family of its own"

MISTRAL = Family(
    name="mistral",
    model_types=("mistral", "ministral", "consolidated.transformer"),
    config="intermodal_mistral.config:MistralConfig",
    backbone="intermodal_mistral.model:MistralBackbone",
    weight_map="intermodal_mistral.weights:weight_map",
    architectures={
        "MistralForCausalLM": "text-generation",
        "MistralModel": "feature-extraction",
        "MistralForSequenceClassification": "text-classification",
        "MistralForTokenClassification": "token-classification",
        "MistralForQuestionAnswering": "question-answering",
        "MinistralForCausalLM": "text-generation",
        "MinistralModel": "feature-extraction",
        "MinistralForSequenceClassification": "text-classification",
        "MinistralForTokenClassification": "token-classification",
        "MinistralForQuestionAnswering": "question-answering",
    },
    dialects={
        "gguf": "intermodal_mistral.gguf:config_from_gguf",
        "consolidated": "intermodal_mistral.consolidated:config_from_params",
    },
    refused={
        "ministral3": _SCALED,
        "Ministral3ForCausalLM": _SCALED,
        "gguf.mistral3": _SCALED,
        "mistral3": _VISION,
        "Mistral3ForConditionalGeneration": _VISION,
        "pixtral": _VISION,
        "PixtralForConditionalGeneration": _VISION,
        "mixtral": _EXPERTS,
        "MixtralForCausalLM": _EXPERTS,
        "mistral4": "it has latent attention and a mixture of experts; it is a family of its own",
        "Mistral4ForCausalLM": "it has latent attention and a mixture of experts; it is a family of its own",
        "voxtral": _AUDIO,
        "VoxtralForConditionalGeneration": _AUDIO,
        "consolidated.mamba": "it is a state-space model without attention; it is a family of its own",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the Mistral family: what shares the architecture of Mistral 7B, with and without sliding windows."""
    return [MISTRAL]


@hookimpl
def intermodal_model_loaded(model: Any, report: Any) -> None:
    """Warn of a tokenizer.json that is known to be wrong."""
    if model.family is not MISTRAL or model.tokenizer is None:
        return
    from intermodal_mistral.splitting import complaint

    if (text := complaint(model.tokenizer)) is not None:
        report.warnings.append(text)
        warnings.warn(text, stacklevel=2)
