"""Kit: a family's tokenizer gives the ids that the `tokenizers` library gives, and those of llama.cpp."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from intermodal.testing.family_tests.subject import Subject

TEXTS = (
    "Hello, world!",
    " leading and trailing  spaces  ",
    "1234567 3.14159 0x1F 2026-01-31",
    "I'll say it's what they've DON'T we'd",
    "naïve café — “quotes” … ½ ﬁ",
    "日本語のテキスト 한국어 русский العربية हिन्दी",
    "👩‍👩‍👧‍👦 🇩🇪 🤷🏽",
    "def f(x):\n\treturn x  # comment\n\n\n",
    "e\u0301 vs \u00e9, \u200b zero width, \u00a0 no break",
    "<s> </s> <|endoftext|> [MASK]",
    "a" * 200,
    "",
)
OTHER_FILES = ("tokenizer.model", "vocab.json", "vocab.txt")
LLAMA_CPP = "INTERMODAL_LLAMA_CPP"
_SEPARATOR = "\n__ggml_vocab_test__\n"


class TokenizerTests:
    """A tokenizer folder that the author gives, and vocabularies that llama.cpp has expected ids for."""

    def test_ids_are_those_of_tokenizers(self, subject: Subject, tmp_path: Path) -> None:
        """Ids of texts that tokenizers tend to differ in, with special tokens and without."""
        import tokenizers

        for folder in _folders(subject, tmp_path):
            ours = _tokenizer(folder)
            reference = tokenizers.Tokenizer.from_file(str(_whole(subject, tmp_path) / "tokenizer.json"))
            for text in TEXTS:
                for special in (True, False):
                    got = list(ours.encode(text, add_special_tokens=special))
                    expected = reference.encode(text, add_special_tokens=special).ids
                    assert got == expected, f"{text!r}, add_special_tokens={special}: {got}, expected {expected}"

    def test_ids_are_the_golden_ones(self, subject: Subject, tmp_path: Path) -> None:
        """Ids that another program gives for the same tokenizer."""
        subject.needs("golden ids", bool(subject.tests.golden_ids))
        for folder in _folders(subject, tmp_path):
            _assert_golden(_tokenizer(folder), subject.tests.golden_ids)

    def test_ids_of_a_gguf_vocabulary_are_llama_cpps(self, vocabulary: str, subject: Subject) -> None:
        """Ids in the files beside llama.cpp's vocabularies, for the tokenizer that a GGUF file carries."""
        from intermodal.checkpoints import open_checkpoint
        from intermodal.plugins import manager
        from intermodal.processing.tokenizer import Tokenizer
        from intermodal.sources import open_repository
        from intermodal.sources.base import Access

        path = Path(os.environ.get(LLAMA_CPP, "")) / "models" / f"ggml-vocab-{vocabulary}.gguf"
        if not os.environ.get(LLAMA_CPP) or not path.exists():
            pytest.skip(f"{LLAMA_CPP} names no source tree of llama.cpp with {path.name}")
        parts = open_checkpoint(open_repository(str(path), Access()), manager().reader).tokenizer_parts()
        assert parts is not None, f"{path.name} has no tokenizer"
        texts = path.with_suffix(".gguf.inp").read_bytes().decode().removesuffix(_SEPARATOR).split(_SEPARATOR)
        lines = path.with_suffix(".gguf.out").read_text().splitlines()
        golden = {text: [int(number) for number in line.split()] for text, line in zip(texts, lines, strict=True)}
        _assert_golden(Tokenizer(parts), golden)


def _whole(subject: Subject, folder: Path) -> Path:
    """The author's folder; it is written where the author gives a function that does."""
    given = subject.tests.tokenizer
    subject.needs("tokenizer folder to compare", given is not None)
    if not callable(given):
        return Path(str(given))
    target = folder / "tokenizer"
    if not target.exists():
        target.mkdir()
        given(target)
    return target


def _folders(subject: Subject, folder: Path) -> Iterator[Path]:
    """The author's folder, and what older checkpoints have in place of its tokenizer.json."""
    whole = _whole(subject, folder)
    yield whole
    if any((whole / name).exists() for name in OTHER_FILES):
        yield shutil.copytree(whole, folder / "older", ignore=shutil.ignore_patterns("tokenizer.json"))


def _tokenizer(folder: Path) -> Any:
    from intermodal.processing.load import tokenizer_from_repository
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.sources import open_repository
    from intermodal.sources.base import Access

    parts = tokenizer_from_repository(open_repository(str(folder), Access()))
    assert parts is not None, f"no tokenizer is found in {folder}"
    return Tokenizer(parts)


def _assert_golden(tokenizer: Any, golden: Mapping[str, list[int]]) -> None:
    for text, expected in golden.items():
        got = list(tokenizer.encode(text, add_special_tokens=False))
        assert got == list(expected), f"{text!r}: {got}, expected {list(expected)}"
