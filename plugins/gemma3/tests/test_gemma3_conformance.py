"""Gemma 3's text model against the conformance kit."""

from typing import Any

from intermodal.testing import FamilyTests, Variant

FULL, SLIDING = "full_attention", "sliding_attention"


def plain(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


def ropes(full: dict[str, Any], sliding: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"rope_parameters": {FULL: full, SLIDING: sliding or plain(1e4)}}


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them."""
    keys = {
        "gemma3.block_count": config.num_hidden_layers,
        "gemma3.context_length": config.max_position_embeddings,
        "gemma3.embedding_length": config.hidden_size,
        "gemma3.feed_forward_length": config.intermediate_size,
        "gemma3.attention.head_count": config.num_attention_heads,
        "gemma3.attention.head_count_kv": config.num_key_value_heads,
        "gemma3.attention.key_length": config.head_dim,
        "gemma3.attention.value_length": config.head_dim,
        "gemma3.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "gemma3.attention.sliding_window": config.sliding_window,
        "gemma3.attention.sliding_window_pattern": [kind == SLIDING for kind in config.layer_types],
        "gemma3.vocab_size": config.vocab_size,
        "gemma3.rope.freq_base": config.rope.rope_theta,
        "gemma3.rope.freq_base_swa": config.local_rope.rope_theta,
        "tokenizer.ggml.bos_token_id": config.bos_token_id,
        "tokenizer.ggml.eos_token_id": config.eos_token_id,
        "tokenizer.ggml.padding_token_id": config.pad_token_id,
    }
    if config.rope.rope_type != "default":
        keys["gemma3.rope.scaling.type"] = config.rope.rope_type
        keys["gemma3.rope.scaling.factor"] = config.rope.factor
    if config.final_logit_softcapping:
        keys["gemma3.final_logit_softcapping"] = config.final_logit_softcapping
    return keys


TINY = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "max_position_embeddings": 128,
    "sliding_window": 9,
    "layer_types": [SLIDING, FULL],
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
WITHOUT_CONTEXT = {key: value for key, value in YARN.items() if not key.startswith("original")}
VARIANTS = {
    "head_dim": {"head_dim": 24},
    "layers": {"num_hidden_layers": 4, "layer_types": [FULL, SLIDING, SLIDING, FULL]},
    "one key-value head": {"num_key_value_heads": 1},
    "query_pre_attn_scalar": {"query_pre_attn_scalar": 5},
    "window": {"sliding_window": 3},
    "layer_types": {"layer_types": [FULL, SLIDING]},
    "a pattern": {"layer_types": None, "sliding_window_pattern": 1},
    "global theta": ropes(plain(50.0)),
    "local theta": ropes(plain(1e6), plain(50.0)),
    "rope linear": ropes(LINEAR),
    "rope yarn": ropes(YARN),
    "exact gelu": {"hidden_activation": "gelu"},
    "final_logit_softcapping": {"final_logit_softcapping": 3.0},
    "both ways": {"use_bidirectional_attention": True, "sliding_window": 4},
    "local theta, the older key": {"rope_local_base_freq": 50.0},
    "context": Variant({"max_position_embeddings": 256}, same="rotary embeddings reach any position"),
    "one name of the tanh form": Variant({"hidden_activation": "gelu_new"}, same="it is another name of it"),
}
REFUSED = {
    "hidden_activation": {"hidden_activation": "silu"},
    "attn_logit_softcapping": {"attn_logit_softcapping": 50.0},
    "rope dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "original context beside": {"original_max_position_embeddings": 16, **ropes(WITHOUT_CONTEXT)},
    "half of a head": {"partial_rotary_factor": 0.5},
    "a pattern of two minds": {"layer_types": None, "_sliding_window_pattern": 3},
    "quantization_config": {"quantization_config": {"quant_method": "awq"}},
    "is_causal": {"is_causal": False},
}
GGUF_VARIANTS = {
    "tiny": {},
    "biases": {"attention_bias": True},
    "not tied": {"tie_word_embeddings": False},
    "rope linear": ropes(LINEAR),
    "final_logit_softcapping": {"final_logit_softcapping": 3.0},
}
OF_IMAGES = "only the classes that take images read it"


class TestGemma3(FamilyTests):
    family = "gemma3_text"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = dict.fromkeys(("image_token_id", "mm_tokens_per_image", "vision_config"), OF_IMAGES)
    gguf_metadata = staticmethod(gguf_metadata)
    gguf_variants = GGUF_VARIANTS

    @classmethod
    def older_spelling(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Two rotary bases, of which only the global one could be scaled."""
        rope = raw["rope_parameters"]
        older = super().older_spelling({**raw, "rope_parameters": rope[FULL]})
        return {**older, "rope_local_base_freq": rope[SLIDING]["rope_theta"]}
