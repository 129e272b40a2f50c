"""Removing the spaces that WordPiece puts before punctuation, as transformers' clean_up_tokenization does."""

from __future__ import annotations

_REPLACEMENTS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def clean_up_spaces(text: str) -> str:
    """`text` without the spaces before punctuation and English contractions."""
    for written, meant in _REPLACEMENTS:
        text = text.replace(written, meant)
    return text


def settled(text: str) -> int:
    """How much of the beginning of `text` cleans up the same, whatever follows.

    A cut is safe before a space, unless a replacement could reach over it: that takes an apostrophe or another space
    before the cut, or the n of "n't".
    """
    end = text.rfind(" ")
    while end > 0 and text[end - 1] in " 'n":
        end = text.rfind(" ", 0, end)
    return max(end, 0)
