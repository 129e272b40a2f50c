"""The kit's classes for the faulty families. Copied as test_faults.py into the folder where they are installed."""

from typing import Any

from intermodal.testing import FamilyTests

from faulty_family.plugin import FAMILIES

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


class LlamaTests(FamilyTests):
    tiny = TINY
    variants = {  # noqa: RUF012
        "attention_bias": {"attention_bias": True},
        "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    }
    unvaried = {"max_position_embeddings": "only some rotary embeddings read it"}  # noqa: RUF012

    @staticmethod
    def gguf_metadata(config: Any) -> dict[str, Any]:
        return {
            "llama.block_count": config.num_hidden_layers,
            "llama.context_length": config.max_position_embeddings,
            "llama.embedding_length": config.hidden_size,
            "llama.feed_forward_length": config.intermediate_size,
            "llama.attention.head_count": config.num_attention_heads,
            "llama.attention.head_count_kv": config.num_key_value_heads,
            "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "llama.rope.dimension_count": config.head_dim,
            "llama.vocab_size": config.vocab_size,
        }


class GemmaTests(LlamaTests):
    tiny = {**TINY, "head_dim": 12}  # noqa: RUF012


BASES = {"missing_offset": GemmaTests, "gemma3_text": GemmaTests}

for _family in (*(family.name for family in FAMILIES), "careless", "mistral", "gemma3_text"):
    _name = "Test" + _family.title().replace("_", "")
    globals()[_name] = type(_name, (BASES.get(_family, LlamaTests),), {"family": _family, "__module__": __name__})
