"""Tokenizers of models that are trained by connectionist temporal classification: one id a frame, blanks in between.

Their vocab.json has the letters of a language, and no other file says how text is split: each letter is a token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded
from intermodal.processing.class_defaults import CTC_CLASS
from intermodal.processing.cleanup import clean_up_spaces
from intermodal.processing.encoded import Encoded
from intermodal.processing.encoding import as_rows
from intermodal.processing.save import tokenizer_config, write_text
from intermodal.processing.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers

ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "word_delimiter_token": "|",
}
"""Special tokens where the files declare no others; the padding token is CTC's blank."""

_LETTERS = 0x10000  # upper case is looked up for the characters below


def build_ctc(
    vocabulary: Mapping[str, Any], config: Mapping[str, Any], declared: Mapping[str, str], origin: str
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """A backend that takes each letter for a token, and the special tokens by role.

    Args:
        vocabulary: vocab.json: token → id, or for several languages an object of such by language.
        config: tokenizer_config.json; `target_lang` chooses the language.
        declared: special tokens by role that the files declare.
        origin: for messages.

    Raises:
        TokenizerError: the files are malformed, or name no language where there are several.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokens = _of_language(vocabulary, config.get("target_lang"), origin)
    roles = {**ROLES, **{role: token for role, token in declared.items() if role in ROLES}}
    delimiter = roles["word_delimiter_token"]
    if len(delimiter) != 1:
        raise TokenizerError(f"{origin}: word_delimiter_token is {delimiter!r}, expected a single character.")
    lacking = [token for token in dict.fromkeys(roles.values()) if token not in tokens]
    longer = [token for token in tokens if len(token) > 1]
    tokens |= {token: len(tokens) + index for index, token in enumerate(lacking)}
    with guarded(origin):
        backend = Tokenizer(models.WordLevel(vocab=tokens, unk_token=roles["unk_token"]))
        changes = [normalizers.Replace(" ", delimiter)]
        if config.get("do_lower_case"):  # text is lower case outside, and upper case in the vocabulary
            changes += [normalizers.Replace(letter, upper) for letter, upper in _upper_case(tokens)]
        backend.normalizer = normalizers.Sequence(changes)  # pyright: ignore[reportAttributeAccessIssue]
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
        backend.add_tokens([AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in longer])
    return backend, roles


def _of_language(vocabulary: Mapping[str, Any], language: Any, origin: str) -> dict[str, int]:
    """The tokens and ids of one language, or of the only one."""
    several = [name for name, value in vocabulary.items() if isinstance(value, Mapping)]
    chosen = vocabulary
    if several:
        if language not in several:
            raise TokenizerError(
                f"{origin}: vocab.json is of {len(several)} languages, and target_lang is {language!r}: name one in "
                f"tokenizer_config.json: {', '.join(several[:8])}{', …' if len(several) > 8 else ''}."
            )
        chosen = vocabulary[language]
    if not chosen or not all(type(index) is int and index >= 0 for index in chosen.values()):
        raise TokenizerError(f"{origin}: vocab.json maps tokens to ids.")
    if len(set(chosen.values())) != len(chosen):
        raise TokenizerError(f"{origin}: vocab.json gives several tokens the same id.")
    return dict(chosen)


def _upper_case(tokens: Mapping[str, int]) -> list[tuple[str, str]]:
    """Characters and their upper case, where the vocabulary has it."""
    pairs = ((chr(code), chr(code).upper()) for code in range(_LETTERS) if not 0xD800 <= code < 0xE000)
    return [(one, upper) for one, upper in pairs if one != upper and all(letter in tokens for letter in upper)]


class CTCTokenizer(Tokenizer):
    """A tokenizer whose ids come one a frame: `decode` joins repeated ones, and leaves out the blank between."""

    @property
    def word_delimiter_token(self) -> str:
        """The token that stands between words."""
        return self.special_tokens["word_delimiter_token"]

    @property
    def word_delimiter_token_id(self) -> int | None:
        """Its id."""
        return self.backend.token_to_id(self.word_delimiter_token)

    def decode(
        self,
        ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
    ) -> Any:
        """Text of the likeliest id of each frame; a list of texts for a batch.

        Args:
            ids: of shape (), (frames,) or (batch, frames).
            skip_special_tokens: leave out special tokens; the one between words always stays.
            clean_up_tokenization_spaces: remove spaces before punctuation; the files' own choice where None.
            group_tokens: ids that repeat are one token. False for ids of a text, as a call gives them.
            spaces_between_special_tokens: put a space between any two tokens.
            output_char_offsets: also tell from which frame to which each character goes.
            output_word_offsets: also tell it of words.

        Returns:
            A text; with offsets an object with `text`, and `char_offsets` and `word_offsets` where they are asked for
            (else None): lists of `{"char" or "word": …, "start_offset": …, "end_offset": …}` in frames, the end
            exclusive.

        Raises:
            TokenizerError: an id is negative.
        """
        rows = as_rows(ids)
        if isinstance(rows, list) and rows and isinstance(rows[0], list):
            asked = {
                "group_tokens": group_tokens,
                "spaces_between_special_tokens": spaces_between_special_tokens,
                "output_char_offsets": output_char_offsets,
                "output_word_offsets": output_word_offsets,
            }
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **asked) for row in rows]
        flat = [rows] if isinstance(rows, int) else rows
        if min(flat, default=0) < 0:
            raise TokenizerError(
                f"Only ids from 0 on can be decoded, got {min(flat)}: leave out padding and ignored labels."
            )
        offsets = self._characters(flat, skip_special_tokens, group_tokens)
        text = (" " if spaces_between_special_tokens else "").join(each["char"] for each in offsets).strip()
        text = text.lower() if self.config.get("do_lower_case") else text
        clean = self.cleans_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        text = clean_up_spaces(text) if clean else text
        if not (output_char_offsets or output_word_offsets):
            return text
        words = self.word_offsets(offsets) if output_word_offsets else None
        return Encoded({"text": text, "char_offsets": offsets if output_char_offsets else None, "word_offsets": words})

    def batch_decode(self, batch: Any, skip_special_tokens: bool = False, **arguments: Any) -> Any:
        """As `decode` of each row; with offsets one object, each of whose values has an entry for a row."""
        decoded = [self.decode(row, skip_special_tokens, **arguments) for row in batch]
        if decoded and not isinstance(decoded[0], str):
            return Encoded({name: [each[name] for each in decoded] for name in decoded[0]})
        return decoded

    def word_offsets(self, characters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Offsets of words, from those of characters."""
        space = self._between_words
        words = (list(run) for is_space, run in groupby(characters, lambda each: each["char"] == space) if not is_space)
        return [
            {
                "word": "".join(each["char"] for each in run),
                "start_offset": run[0]["start_offset"],
                "end_offset": run[-1]["end_offset"],
            }
            for run in words
        ]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write vocab.json and tokenizer_config.json, as transformers reads them. Of several languages, the one read.

        Each file is written beside and renamed into place.
        """
        vocabulary = self.backend.get_vocab(with_added_tokens=False)
        added = {
            str(index): {
                name: getattr(token, name) for name in ("content", "lstrip", "rstrip", "normalized", "special")
            }
            for index, token in sorted(self.backend.get_added_tokens_decoder().items())
            if token.content not in vocabulary
        }
        config = {key: value for key, value in tokenizer_config(self).items() if key != "target_lang"}
        files = {
            "vocab.json": dict(sorted(vocabulary.items(), key=lambda entry: entry[1])),
            "tokenizer_config.json": {**config, "added_tokens_decoder": added, "tokenizer_class": CTC_CLASS},
        }
        for name, content in files.items():
            write_text(Path(folder) / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @property
    def _between_words(self) -> str:
        space = self.config.get("replace_word_delimiter_char", " ")
        return space if isinstance(space, str) else " "

    def _characters(self, ids: Sequence[int], skip: bool, group: bool) -> list[dict[str, Any]]:
        """What is said in frames of these ids, and from which to which each token goes; blanks are left out."""
        tokens = [self.backend.id_to_token(index) or self.unk_token for index in ids]
        if skip:
            special = set(self.special_tokens.values()) - {self.word_delimiter_token}
            tokens = [token for token in tokens if token not in special]
        runs = [(token, sum(1 for _ in run)) for token, run in groupby(tokens)] if group else [(t, 1) for t in tokens]
        found, start = [], 0
        for token, length in runs:
            if token != self.pad_token:
                char = self._between_words if token == self.word_delimiter_token else token
                found.append({"char": char, "start_offset": start, "end_offset": start + length})
            start += length
        return found
