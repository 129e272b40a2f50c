"""Text of token ids that arrive one by one: what all of them together decode to, as early as it is certain.

A character may be spread over several tokens, a decoder may treat the first token in its own way, and special tokens
are left out. So a token's text is not what it decodes to alone. Decoding everything anew at each token would be right,
but takes quadratic time. What is done instead depends on the decoder:

* byte-level: tokens are bytes, and an incremental UTF-8 decoder knows which characters are complete.
* those that work token by token but for the first (Metaspace, WordPiece, SentencePiece's sequence): a token is
  decoded together with the one before it, whose own text is then cut off. Tokens that stand for single bytes wait for
  the end of their run, because one invalid byte changes the text of the whole run.
* any other: nothing is certain before the end.

tokenizers' own DecodeStream waits while the text ends in the replacement character: it decodes a run of invalid bytes
anew at each of them, and never gives out those that a stream ends with.
"""

from __future__ import annotations

import codecs
import json
from functools import lru_cache
from typing import Any, Literal

from intermodal.processing.cleanup import clean_up_spaces, settled
from intermodal.processing.tokenizer import Tokenizer

Kind = Literal["bytes", "tokens", "whole"]


class StreamDecoder:
    """Decodes one row of ids, token by token; special tokens are left out.

    Example:
        decoder = StreamDecoder(tokenizer)
        for index in ids:
            print(decoder.push(index), end="")
        print(decoder.flush())

    What it gives out, joined, is `tokenizer.decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._kind, self._runs = decoder_kind(tokenizer.backend.decoder)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._anchor: list[int] = []  # tokens whose text is out, which stand for all before them
        self._before = ""  # their text
        self._waiting: list[int] = []
        self._cleans_up = tokenizer.cleans_up
        self._unsettled = ""

    def push(self, index: int) -> str:
        """Take the next id and return the text that is now certain; often that of one token, sometimes none."""
        token = self._tokenizer.backend.id_to_token(index)
        if index in self._special or token is None:
            return ""
        if self._kind == "bytes":
            return self._cleaned(self._utf8.decode(token_bytes(token)))
        self._waiting.append(index)
        if self._kind == "whole" or (self._runs and _is_byte(token)):
            return ""
        return self._cleaned(self._take())

    def flush(self) -> str:
        """The rest of the text, when no more ids come."""
        rest = self._utf8.decode(b"", final=True) if self._kind == "bytes" else self._take()
        text, self._unsettled = self._unsettled + rest, ""
        return clean_up_spaces(text) if self._cleans_up else text

    def _take(self) -> str:
        """Text of the waiting tokens, which become what stands for all before the next."""
        if not self._waiting:
            return ""
        text = self._decode(self._anchor + self._waiting)[len(self._before) :]
        if text:
            self._anchor, self._before = self._waiting, self._decode(self._waiting)
        elif not self._before:  # a first space that is taken off is no text, but must not be taken off again
            self._anchor = [*self._anchor, *(index for index in self._waiting if index not in self._anchor)]
        self._waiting = []
        return text

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _cleaned(self, text: str) -> str:
        if not self._cleans_up:
            return text
        text = self._unsettled + text
        cut = settled(text)
        self._unsettled = text[cut:]
        return clean_up_spaces(text[:cut])


def decoder_kind(decoder: Any) -> tuple[Kind, bool]:
    """How a decoder can be followed token by token, and whether runs of byte tokens decode as one."""
    if decoder is None:
        return "tokens", False
    state = json.loads(decoder.__getstate__())
    steps = state["decoders"] if state["type"] == "Sequence" else [state]
    names = [step["type"] for step in steps]
    if names == ["ByteLevel"]:
        return "bytes", False
    if names in (["Metaspace"], ["WordPiece"]):
        return "tokens", False
    # SentencePiece's: replacements within each token, bytes to characters, one string, and its first space taken off.
    while names and names[0] == "Replace":
        names, steps = names[1:], steps[1:]
    runs = names[:1] == ["ByteFallback"]
    if runs:
        names, steps = names[1:], steps[1:]
    if names[:1] == ["Fuse"]:
        names, steps = names[1:], steps[1:]
    strips_front = names == ["Strip"] and steps[0]["start"] <= 1 and steps[0]["stop"] == 0
    return ("tokens" if not names or strips_front else "whole"), runs


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


@lru_cache(maxsize=1)
def _byte_of_letter() -> dict[str, int]:
    """The letters that byte-level tokens are written in: printable Latin-1 as it is, other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def token_bytes(token: str) -> bytes:
    """The bytes that a byte-level token stands for; a token that has other letters stands for itself."""
    letters = _byte_of_letter()
    try:
        return bytes([letters[letter] for letter in token])
    except KeyError:
        return token.encode()
