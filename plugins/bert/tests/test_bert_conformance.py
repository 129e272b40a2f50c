"""BERT against the conformance kit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from intermodal.testing import FamilyTests, Variant

TINY = {
    "vocab_size": 99,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
VARIANTS = {
    "num_attention_heads": {"num_attention_heads": 2},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "silu": {"hidden_act": "silu"},
    "tanh": {"hidden_act": "tanh"},
    "untied": Variant({"tie_word_embeddings": False}, architecture="BertForMaskedLM"),
}
REFUSED = {
    "hidden_act": {"hidden_act": "quick_gelu"},
    "relative positions": {"position_embedding_type": "relative_key"},
    "is_decoder": {"is_decoder": True},
    "is_causal": {"is_causal": True},
    "add_cross_attention": {"add_cross_attention": True},
    "heads that do not divide hidden_size": {"hidden_size": 50},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
}
GOLDEN = json.loads((Path(__file__).parent / "golden_ids.json").read_text(encoding="utf-8"))
UNREAD = {
    "rope_scaling": "every config class of transformers has this name for rope_parameters",
    "rope_parameters": "layers that predict several tokens read it, and BERT has none",
    "head_dim": "rotary embeddings read it, and BERT has none",
    "rms_norm_eps": "layers that predict several tokens read it, and BERT has none",
}


def gguf_metadata(config: Any) -> dict[str, Any]:
    """The keys of a GGUF file, as llama.cpp's converter writes them."""
    return {
        "bert.block_count": config.num_hidden_layers,
        "bert.context_length": config.max_position_embeddings,
        "bert.embedding_length": config.hidden_size,
        "bert.feed_forward_length": config.intermediate_size,
        "bert.attention.head_count": config.num_attention_heads,
        "bert.attention.layer_norm_epsilon": config.layer_norm_eps,
        "bert.attention.causal": False,
        "bert.pooling_type": 0,
    }


def write_tokenizer(folder: Path) -> None:
    """The tokens that the golden ids need, at their places in the real vocabulary: as tokenizer.json and vocab.txt."""
    tokens = {index: token for token, index in GOLDEN["vocabulary"].items()}
    lines = [tokens.get(index, f"[unused{index}]") for index in range(max(tokens) + 1)]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = tokenizers.BertWordPieceTokenizer({line: index for index, line in enumerate(lines)}, lowercase=True)
    whole.save(str(folder / "tokenizer.json"))


class TestBert(FamilyTests):
    family = "bert"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = UNREAD
    gguf_metadata = staticmethod(gguf_metadata)
    tokenizer = staticmethod(write_tokenizer)
    golden_ids = GOLDEN["ids"]
    vocabularies = ("bert-bge",)

    @classmethod
    def inputs(cls, task: str) -> dict[str, np.ndarray]:
        """Two texts in a row; of multiple choice, two for each of three choices."""
        shape = (2, 3, 40) if task == "multiple-choice" else (2, 40)
        random = np.random.default_rng(3)
        types = np.broadcast_to(np.arange(40) >= 25, shape)
        return {
            "input_ids": random.integers(3, 99, shape).astype("int32"),
            "token_type_ids": types.astype("int32"),
        }
