"""Small checkpoints as transformers saves them, and a hub on loopback that holds them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from intermodal.testing.hub import LoopbackHub
from intermodal.testing.reference import make_reference

SMALL = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,?!", "the", "cat", "sat", "##s"]


def encoder(folder: Path, head: str = "SequenceClassification", **fields) -> Path:
    """A BERT with a head, and a vocab.txt."""
    from transformers import BertTokenizer

    make_reference(f"BertFor{head}", {**SMALL, **fields}).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def decoder(folder: Path, **fields) -> Path:
    """A Llama with a byte-level BPE tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(["the cat sat"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in ("<s>", "</s>")])
    # Ids beyond the tokenizer's are chosen by transformers, and never by us.
    make_reference("LlamaForCausalLM", {**SMALL, "vocab_size": backend.get_vocab_size(), **fields}).save_pretrained(
        folder
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>", padding_side="left"
    )
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    return encoder(tmp_path_factory.mktemp("classifier"), num_labels=3)


@pytest.fixture(scope="session")
def masked(tmp_path_factory) -> Path:
    return encoder(tmp_path_factory.mktemp("masked"), "MaskedLM")


@pytest.fixture(scope="session")
def causal(tmp_path_factory) -> Path:
    return decoder(tmp_path_factory.mktemp("causal"))


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A hub that this process' huggingface_hub talks to."""
    with LoopbackHub() as server, server.activate():
        yield server


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a folder, to be changed."""

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy
