"""What this package adds to intermodal: the Gemma 3 family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

_NORMS = "it has norms, caps and scales of its own; it is a family of its own"
_IMAGES = 'it has an image encoder beside the text model: its model_type is "gemma3"'
_TEXT = 'it has no image encoder: its model_type is "gemma3_text"'

GEMMA_TEXT = Family(
    name="gemma3_text",
    model_types=("gemma3_text", "gguf.gemma3", "gguf.gemma-embedding"),
    config="intermodal_gemma3.config:GemmaTextConfig",
    backbone="intermodal_gemma3.model:GemmaBackbone",
    weight_map="intermodal_gemma3.weights:weight_map",
    architectures={
        "Gemma3ForCausalLM": "text-generation",
        "Gemma3TextModel": "feature-extraction",
        "Gemma3TextForSequenceClassification": "text-classification",
    },
    dialects={"gguf": "intermodal_gemma3.gguf:config_from_gguf"},
    task_classes={"sentence-similarity": "intermodal.api:SentenceEmbedding"},
    refused={
        "Gemma3ForConditionalGeneration": _IMAGES,
        "Gemma3Model": _IMAGES,
        "Gemma3ForSequenceClassification": _IMAGES,
        "gemma": _NORMS,
        "gguf.gemma": _NORMS,
        "GemmaForCausalLM": _NORMS,
        "gemma2": _NORMS,
        "gguf.gemma2": _NORMS,
        "Gemma2ForCausalLM": _NORMS,
        "gemma3n": "Gemma 3n has per-layer embeddings and shared caches; it is a family of its own",
        "gemma3n_text": "Gemma 3n has per-layer embeddings and shared caches; it is a family of its own",
        "gguf.gemma3n": "Gemma 3n has per-layer embeddings and shared caches; it is a family of its own",
    },
)

GEMMA = Family(
    name="gemma3",
    model_types=("gemma3",),
    config="intermodal_gemma3.image_config:GemmaConfig",
    backbone="intermodal_gemma3.image_model:GemmaImageBackbone",
    weight_map="intermodal_gemma3.image_weights:weight_map",
    architectures={
        "Gemma3ForConditionalGeneration": "image-text-to-text",
        "Gemma3Model": "feature-extraction",
        "Gemma3ForSequenceClassification": "text-classification",
    },
    image_processor="intermodal_gemma3.image_processor:GemmaImageProcessor",
    processor="intermodal_gemma3.image_processor:GemmaProcessor",
    refused={name: _TEXT for name in GEMMA_TEXT.architectures},
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the Gemma 3 families: its text model and what shares its architecture, and the model with images."""
    return [GEMMA_TEXT, GEMMA]
