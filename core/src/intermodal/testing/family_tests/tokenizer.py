"""Kit: a family's tokenizer gives the ids that the `tokenizers` library gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

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


class TokenizerTests:
    """A tokenizer folder that the author gives."""

    def test_ids_are_those_of_tokenizers(self, subject: Subject, tmp_path: Path) -> None:
        """Ids of texts that tokenizers tend to differ in."""
        import tokenizers

        subject.needs("tokenizer folder to compare", subject.tests.tokenizer is not None)
        folder = Path(str(subject.tests.tokenizer))
        reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        _assert_same_ids(folder, reference)
        if any((folder / name).exists() for name in OTHER_FILES):  # what older checkpoints have in its place
            older = shutil.copytree(folder, tmp_path / "older", ignore=shutil.ignore_patterns("tokenizer.json"))
            _assert_same_ids(older, reference)


def _assert_same_ids(folder: Path, reference: Any) -> None:
    from intermodal.processing.load import tokenizer_from_repository
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.sources import open_repository
    from intermodal.sources.base import Access

    parts = tokenizer_from_repository(open_repository(str(folder), Access()))
    assert parts is not None, f"no tokenizer is found in {folder}"
    ours = Tokenizer(parts)
    for text in TEXTS:
        for special in (True, False):
            got = list(ours.encode(text, add_special_tokens=special))
            expected = reference.encode(text, add_special_tokens=special).ids
            assert got == expected, f"{text!r}, add_special_tokens={special}: {got}, expected {expected}"
