"""What test classes of decoders have in common: a tiny model's fields, rotary variants, the keys of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TINY_DECODER: Mapping[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Fields of a decoder of a few thousand weights: `FamilyTests.tiny`."""

_BLENDED = {
    "rope_type": "llama3",
    "rope_theta": 5e3,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_WITHOUT_CONTEXT = {key: value for key, value in _BLENDED.items() if not key.startswith("original")}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
_YARN_KEYS = {**_YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.3}

ROPE_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "rope_theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "rope llama3": {"rope_parameters": _BLENDED},
    "rope yarn": {"rope_parameters": _YARN},
    "rope yarn, all keys": {"rope_parameters": _YARN_KEYS},
    "original context beside": {"rope_parameters": _WITHOUT_CONTEXT, "original_max_position_embeddings": 16},
    "context that rope falls back to": {"rope_parameters": _WITHOUT_CONTEXT, "max_position_embeddings": 16},
}
"""Every kind of rotary parameters that `api.rope_from_hf` reads, for a family with one kind for all layers."""

ROPE_REFUSED: Mapping[str, Mapping[str, Any]] = {
    "partial_rotary_factor": {"partial_rotary_factor": 0.5},
    "rope dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "rope by layer kind": {"rope_parameters": {"full_attention": _BLENDED}},
}
"""What such a family refuses, where it rotates every dimension of a head."""


def decoder_gguf_metadata(config: Any, architecture: str) -> dict[str, Any]:
    """The keys of a decoder's GGUF file, as llama.cpp's converter writes them: what `api.decoder_fields` reads.

    Args:
        config: of the family, with the fields of `TINY_DECODER`, `head_dim`, `rms_norm_eps` and `rope`.
        architecture: `general.architecture`, with which the keys begin.
    """
    keys = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope.rope_theta,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    if config.rope.rope_type != "default":
        keys["rope.scaling.type"] = config.rope.rope_type
        keys["rope.scaling.factor"] = config.rope.factor
    if config.rope.rope_type == "yarn":
        keys["rope.scaling.original_context_length"] = config.rope.original_max_position_embeddings
    tokens = {
        f"tokenizer.ggml.{name}_token_id": getattr(config, f"{name}_token_id")
        for name in ("bos", "eos")
        if getattr(config, f"{name}_token_id") is not None
    }
    return {"general.architecture": architecture, **{f"{architecture}.{key}": v for key, v in keys.items()}, **tokens}
