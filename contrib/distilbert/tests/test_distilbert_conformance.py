"""DistilBERT against the conformance kit."""

from pathlib import Path

import numpy as np
import tokenizers
from intermodal.testing import FamilyTests, Variant

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "it",
    "'s",
    "was",
    "##s",
    "##ting",
    "caf",
    "cafe",
    "!",
    ",",
    ".",
]
TINY = {
    "vocab_size": 99,
    "dim": 48,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 80,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
VARIANTS = {
    "n_heads": {"n_heads": 2},
    "gelu_new": Variant({"activation": "gelu_new"}, architecture="DistilBertForMaskedLM"),
    "relu": {"activation": "relu"},
    "silu": {"activation": "silu"},
    "tanh": {"activation": "tanh"},
    "untied": Variant({"tie_word_embeddings": False}, architecture="DistilBertForMaskedLM"),
}
REFUSED = {
    "activation": {"activation": "quick_gelu"},
    "is_decoder": {"is_decoder": True},
    "is_causal": {"is_causal": True},
    "heads that do not divide dim": {"dim": 50},
    "two widths": {"hidden_size": 64},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
}
UNREAD = {
    "rope_scaling": "every config class of transformers has this name for rope_parameters",
    "rope_parameters": "layers that predict several tokens read it, and DistilBERT has none",
    "head_dim": "rotary embeddings read it, and DistilBERT has none",
    "rms_norm_eps": "layers that predict several tokens read it, and DistilBERT has none",
}


def write_tokenizer(folder: Path) -> None:
    """A small vocabulary, as tokenizer.json and as vocab.txt."""
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    whole = tokenizers.BertWordPieceTokenizer({word: index for index, word in enumerate(WORDS)}, lowercase=True)
    whole.save(str(folder / "tokenizer.json"))


class TestDistilBert(FamilyTests):
    family = "distilbert"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = UNREAD
    tokenizer = staticmethod(write_tokenizer)

    @classmethod
    def inputs(cls, task: str) -> dict[str, np.ndarray]:
        """Texts; of multiple choice, three choices of each."""
        shape = (2, 3, 40) if task == "multiple-choice" else (2, 40)
        return {"input_ids": np.random.default_rng(3).integers(3, 99, shape).astype("int32")}
