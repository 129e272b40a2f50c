"""What a tokenizer returns: rows by name with attributes, tensors, and the way back to words, as in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError

if TYPE_CHECKING:
    from tokenizers import Encoding


class Encoded(dict[str, Any]):
    """A dict that also gives its values as attributes: `encoded.input_ids` is `encoded["input_ids"]`.

    The methods that look from tokens to words and characters take the index of a row first, which may be left out
    where there is one row.

    Attributes:
        encodings: the tokenizers library's own objects, one a row; empty where there are none (after `pad`).
    """

    encodings: list[Encoding]

    def __init__(self, rows: Mapping[str, Any], encodings: list[Encoding] | None = None) -> None:
        super().__init__(rows)
        object.__setattr__(self, "encodings", encodings or [])

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no {name!r} here, only {', '.join(self)}.") from None

    def to(self, device: Any) -> Encoded:
        """The same with torch tensors on another device.

        Raises:
            TokenizerError: something else than torch tensors is in it; Keras puts arrays where its model is by itself.
        """
        moved = {}
        for name, value in self.items():
            if not callable(move := getattr(value, "to", None)):
                raise TokenizerError(
                    f'{name} is a {type(value).__name__}, and only torch tensors (return_tensors="pt") are moved to a '
                    "device. Leave .to() out: Keras puts what a model is called with onto the model's device."
                )
            moved[name] = move(device)
        return Encoded(moved, self.encodings)

    def tokens(self, row: int = 0) -> list[str]:
        """The tokens of a row, as the vocabulary spells them."""
        return self._row(row).tokens

    def word_ids(self, row: int = 0) -> list[int | None]:
        """Which word each token of a row is a part of; None for special tokens."""
        return self._row(row).word_ids

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """Which text of a pair each token of a row is of, 0 or 1; None for special tokens."""
        return self._row(row).sequence_ids

    def char_to_token(self, row_or_character: int, character: int | None = None, sequence: int = 0) -> int | None:
        """The token that a character of a text is in; None for white space that no token covers."""
        row, at = (0, row_or_character) if character is None else (row_or_character, character)
        return self._row(row).char_to_token(at, sequence)

    def token_to_chars(self, row_or_token: int, token: int | None = None) -> tuple[int, int] | None:
        """Where in its text a token is, as (start, end) in characters; None for special tokens."""
        row, at = (0, row_or_token) if token is None else (row_or_token, token)
        return self._row(row).token_to_chars(at)

    def word_to_tokens(self, row_or_word: int, word: int | None = None, sequence: int = 0) -> tuple[int, int] | None:
        """The tokens of a word, as (first, one behind the last); None where it has none."""
        row, at = (0, row_or_word) if word is None else (row_or_word, word)
        return self._row(row).word_to_tokens(at, sequence)

    def _row(self, row: int) -> Encoding:
        if not -len(self.encodings) <= row < len(self.encodings):
            raise TokenizerError(f"There is no row {row}: the tokenizer made {len(self.encodings)} of them.")
        return self.encodings[row]
