"""Small checkpoints as transformers saves them, and pipelines of both libraries on the same one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import intermodal
import pytest
from intermodal.testing.reference import make_reference

SMALL = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
TEXTS = ["The cats sat.", "A dog, a cat and the hat!", "the the quick brown fox jumps over the lazy dogs.", "x"]
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,?!-'", "the", "cat", "dog", "sat", "and", "hat", "this"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def encoder(folder: Path, head: str, **fields: Any) -> Path:
    """A BERT with a head, and a WordPiece tokenizer that cuts most words in pieces."""
    from transformers import BertTokenizer

    if "id2label" in fields:
        fields["label2id"] = {label: index for index, label in fields["id2label"].items()}
    make_reference(f"BertFor{head}" if head != "Model" else "BertModel", {**SMALL, **fields}).save_pretrained(folder)
    pieces = [*_WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), "##og", "##um", "##ow"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    BertTokenizer.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    return folder


def decoder(folder: Path, architecture: str = "LlamaForCausalLM", **fields: Any) -> Path:
    """A Llama with a byte-level BPE tokenizer and a chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in ("<s>", "</s>")])
    eos, bos = backend.token_to_id("</s>"), backend.token_to_id("<s>")
    size = backend.get_vocab_size()
    ids = {"eos_token_id": eos, "bos_token_id": bos, "pad_token_id": eos, "vocab_size": size}
    make_reference(architecture, {**SMALL, **ids, "max_position_embeddings": 400, **fields}).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>", padding_side="left"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if not loop.last %}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}</s>assistant: {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def both() -> Callable[..., tuple[Any, Any]]:
    """The pipeline here, and transformers'."""

    def make(task: str, folder: Path, **options: Any) -> tuple[Any, Any]:
        import transformers

        theirs: Any = transformers.pipeline
        return intermodal.pipeline(task, folder, **options), theirs(task, str(folder), **options)

    return make


def assert_same(got: Any, expected: Any, where: str = "result") -> None:
    """Assert that results have the same shape, keys and text, and numbers within 1e-4."""
    if isinstance(expected, dict):
        assert isinstance(got, dict), where
        assert list(got) == list(expected), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, list):
        assert isinstance(got, list), where
        assert len(got) == len(expected), f"{where}: {got} and not {expected}"
        for index, (one, other) in enumerate(zip(got, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, str | int | None):
        assert got == expected, where
    else:
        assert type(got) is float, where
        assert got == pytest.approx(float(expected), abs=1e-4), where
