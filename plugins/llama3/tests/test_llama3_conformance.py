"""Llama against the conformance kit."""

from typing import Any

from intermodal.testing import (
    ROPE_REFUSED,
    ROPE_VARIANTS,
    TINY_DECODER,
    FamilyTests,
    Variant,
    decoder_gguf_metadata,
)


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them."""
    return decoder_gguf_metadata(config, "llama")


VARIANTS = {
    "head_dim": {"head_dim": 24},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "swish": Variant({"hidden_act": "swish"}, same="it is another name of silu"),
    **ROPE_VARIANTS,
}
REFUSED = {
    "hidden_act": {"hidden_act": "gelu"},
    **ROPE_REFUSED,
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
    tiny = TINY_DECODER
    variants = VARIANTS
    refused = REFUSED
    gguf_metadata = staticmethod(gguf_metadata)
    gguf_variants = GGUF_VARIANTS
    vocabularies = ("llama-bpe", "llama-spm")
