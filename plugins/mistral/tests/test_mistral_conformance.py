"""Mistral against the conformance kit."""

from typing import Any

from intermodal.testing import (
    ROPE_REFUSED,
    ROPE_VARIANTS,
    TINY_DECODER,
    FamilyTests,
    Variant,
    decoder_gguf_metadata,
)

TINY = {**TINY_DECODER, "head_dim": 12}  # transformers' Ministral derives none
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
MINISTRAL = "MinistralForCausalLM"
VARIANTS = {
    "head_dim": {"head_dim": 24},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "hidden_size that heads do not divide": {"hidden_size": 51},
    "no window": Variant({"sliding_window": None}, same="texts of the kit are shorter than the 4096 of the default"),
    "a window of one": {"sliding_window": 1},
    "a short window": {"sliding_window": 7},
    "layers that differ": Variant(
        {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 7}, architecture=MINISTRAL
    ),
    "the other way": Variant(
        {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 7}, architecture=MINISTRAL
    ),
    "swish": Variant({"hidden_act": "swish"}, same="it is another name of silu"),
    **ROPE_VARIANTS,
}
REFUSED = {
    "hidden_act": {"hidden_act": "gelu"},
    **ROPE_REFUSED,
    "sliding_window": {"sliding_window": 0},
    "another kind of layer": {"layer_types": ["chunked_attention", "full_attention"]},
    "too few layer_types": {"layer_types": ["sliding_attention"]},
    "a window that is null": {"layer_types": ["sliding_attention"] * 2, "sliding_window": None},
    "quantization_config": {"quantization_config": {"quant_method": "fp8"}},
    "is_causal": {"is_causal": False},
}
GGUF_VARIANTS = {
    "tiny": {"sliding_window": None},
    "tied": {"sliding_window": None, "tie_word_embeddings": True},
    "window": {"sliding_window": 7},
    "rope yarn": {"sliding_window": None, "rope_parameters": YARN},
}


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them; it has no word for a window, others have."""
    keys = decoder_gguf_metadata(config, "llama")
    if config.sliding_window is not None:
        keys["llama.attention.sliding_window"] = config.sliding_window
    return keys


class TestMistral(FamilyTests):
    family = "mistral"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    gguf_metadata = staticmethod(gguf_metadata)
    gguf_variants = GGUF_VARIANTS
