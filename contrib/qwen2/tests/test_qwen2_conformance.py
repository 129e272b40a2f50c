"""Qwen2 against the conformance kit."""

from pathlib import Path
from typing import Any

from intermodal.testing import ROPE_REFUSED, ROPE_VARIANTS, TINY_DECODER, FamilyTests, Variant, decoder_gguf_metadata

FULL, SLIDING = "full_attention", "sliding_attention"
TINY = {**TINY_DECODER, "hidden_size": 64, "use_sliding_window": True, "max_window_layers": 1}
VARIANTS = {
    **ROPE_VARIANTS,
    "head_dim": {"head_dim": 24},
    "one key-value head": {"num_key_value_heads": 1},
    "hidden_size that heads do not divide": {"hidden_size": 67},
    "swish": Variant({"hidden_act": "swish"}, same="it is another name of silu"),
    "a window": {"sliding_window": 7},
    "a window from the first layer": {"sliding_window": 7, "max_window_layers": 0},
    "a window in the first layer": {"sliding_window": 7, "layer_types": [SLIDING, FULL]},
    "no window": Variant({"use_sliding_window": False}, same="texts are shorter than the default of 4096"),
}
REFUSED = {
    **ROPE_REFUSED,
    "hidden_act": {"hidden_act": "no such function"},
    "too few layer_types": {"layer_types": [FULL]},
    "another kind of layer": {"layer_types": ["chunked_attention", FULL]},
    "a window that is not used": {"layer_types": [SLIDING, FULL], "use_sliding_window": False},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
    "is_causal": {"is_causal": False},
}
GGUF_VARIANTS = {
    "tiny": {"use_sliding_window": False},
    "tied": {"use_sliding_window": False, "tie_word_embeddings": True},
    "rope linear": {"use_sliding_window": False, **ROPE_VARIANTS["rope linear"]},
}


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them."""
    return decoder_gguf_metadata(config, "qwen2")


def write_tokenizer(folder: Path) -> None:
    """A small tokenizer of Qwen2's kind, as transformers makes it."""
    import transformers

    texts = ["The quick brown fox jumps over the lazy dog.", "I'll say it's 1234567!", "naïve café — 日本語"]
    transformers.Qwen2Tokenizer().train_new_from_iterator(texts, 400).save_pretrained(folder)


class TestQwen2(FamilyTests):
    family = "qwen2"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    gguf_metadata = staticmethod(gguf_metadata)
    gguf_variants = GGUF_VARIANTS
    tokenizer = staticmethod(write_tokenizer)
    vocabularies = ("qwen2",)
