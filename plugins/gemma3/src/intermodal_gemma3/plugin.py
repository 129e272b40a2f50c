"""What this package adds to intermodal: the Gemma 3 family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

_NORMS = "it has norms, caps and scales of its own; it is a family of its own"
_IMAGES = "images are not supported yet: it has an image encoder (SigLIP) beside the text model"

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
        "gemma3": _IMAGES,
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


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the Gemma 3 family: its text model and what shares its architecture."""
    return [GEMMA_TEXT]
