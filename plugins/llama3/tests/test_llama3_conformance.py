"""Llama against the conformance kit."""

from typing import Any

from intermodal.testing import FamilyTests, Variant

LLAMA31 = {
    "rope_type": "llama3",
    "rope_theta": 5e3,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
WITHOUT_CONTEXT = {key: value for key, value in LLAMA31.items() if not key.startswith("original")}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them."""
    keys = {
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": config.rope.rope_theta,
        "llama.rope.dimension_count": config.head_dim,
        "llama.vocab_size": config.vocab_size,
        "tokenizer.ggml.bos_token_id": config.bos_token_id,
        "tokenizer.ggml.eos_token_id": config.eos_token_id,
    }
    if config.rope.rope_type != "default":
        keys["llama.rope.scaling.type"] = config.rope.rope_type
        keys["llama.rope.scaling.factor"] = config.rope.factor
    return keys


TINY = {
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
VARIANTS = {
    "head_dim": {"head_dim": 24},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "swish": Variant({"hidden_act": "swish"}, same="it is another name of silu"),
    "rope_theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "rope llama3": {"rope_parameters": LLAMA31},
    "rope yarn": {"rope_parameters": YARN},
    "rope yarn, all keys": {
        "rope_parameters": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.3}
    },
    "original context beside": {"rope_parameters": WITHOUT_CONTEXT, "original_max_position_embeddings": 16},
    "context that rope falls back to": {
        "max_position_embeddings": 16,
        "rope_parameters": WITHOUT_CONTEXT,
    },
}
REFUSED = {
    "hidden_act": {"hidden_act": "gelu"},
    "partial_rotary_factor": {"partial_rotary_factor": 0.5},
    "rope dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "rope by layer kind": {"rope_parameters": {"full_attention": LLAMA31}},
    "sliding_window": {"sliding_window": 4096},
    "layer_types": {"layer_types": ["sliding_attention"]},
    "quantization_config": {"quantization_config": {"quant_method": "awq"}},
    "is_causal": {"is_causal": False},
}
GGUF_VARIANTS = {
    "tiny": {},
    "biases": {"attention_bias": True},
    "tied": {"tie_word_embeddings": True},
    "head_dim": {"head_dim": 24},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
}


class TestLlama3(FamilyTests):
    family = "llama"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    gguf_metadata = staticmethod(gguf_metadata)
    gguf_variants = GGUF_VARIANTS
    vocabularies = ("llama-bpe", "llama-spm")
