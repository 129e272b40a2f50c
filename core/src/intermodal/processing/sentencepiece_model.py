"""Reading a SentencePiece model file (tokenizer.model): a protobuf message of pieces, scores and normalisation.

The fields are those of sentencepiece_model.proto of google/sentencepiece; fields that only training uses are skipped.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from intermodal.errors import TokenizerError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
MAX_PIECES = 1 << 21

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One piece of the vocabulary; its id is its place in the list."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """What encoding needs of a model file. Ids are -1 where there is no such piece."""

    pieces: list[Piece]
    algorithm: int
    byte_fallback: bool
    unk_id: int
    bos_id: int
    eos_id: int
    pad_id: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    unsupported: str | None


def parse_sentencepiece(data: bytes, origin: str) -> SentencePieceModel:
    """Parse a model file.

    Raises:
        TokenizerError: it is malformed, or in the format of tiktoken.
    """
    if _is_tiktoken(data):
        raise TokenizerError(
            f"{origin} is a list of tiktoken ranks, not a SentencePiece model. Use a repository that has a "
            "tokenizer.json: the Hugging Face form of the same model does."
        )
    try:
        return _model(data)
    except ValueError as error:
        raise TokenizerError(f"{origin} is not a SentencePiece model: {error}.") from error


def _model(data: bytes) -> SentencePieceModel:
    message = list(_fields(data))
    pieces = [_piece(_bytes(value)) for number, value in message if number == 1]
    if not 0 < len(pieces) <= MAX_PIECES:
        raise ValueError(f"it has {len(pieces)} pieces, expected 1 to {MAX_PIECES}")
    trainer, normalizer, denormalizer = (
        dict(_fields(b"".join(_bytes(value) for number, value in message if number == field))) for field in (2, 3, 5)
    )
    algorithm = _integer(trainer.get(3, UNIGRAM))
    unsupported = {
        "its model type is neither unigram nor BPE": algorithm not in (UNIGRAM, BPE),
        "it puts whitespace at the end of words (treat_whitespace_as_suffix)": _integer(trainer.get(24, 0)),
        "it does not escape whitespace (escape_whitespaces)": not _integer(normalizer.get(5, 1)),
        "it changes the text when decoding (denormalizer_spec)": _bytes(denormalizer.get(2, b"")),
    }
    return SentencePieceModel(
        pieces=pieces,
        algorithm=algorithm,
        byte_fallback=bool(_integer(trainer.get(35, 0))),
        unk_id=_integer(trainer.get(40, 0)),
        bos_id=_integer(trainer.get(41, 1)),
        eos_id=_integer(trainer.get(42, 2)),
        pad_id=_integer(trainer.get(43, -1)),
        charsmap=_bytes(normalizer.get(2, b"")),
        add_dummy_prefix=bool(_integer(normalizer.get(3, 1))),
        remove_extra_whitespaces=bool(_integer(normalizer.get(4, 1))),
        unsupported=next((reason for reason, found in unsupported.items() if found), None),
    )


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text = _bytes(fields.get(1, b"")).decode("utf-8")
    score = struct.unpack("<f", _bytes(fields.get(2, bytes(4)))[:4].ljust(4, b"\0"))[0]
    kind = _integer(fields.get(3, NORMAL))
    if not NORMAL <= kind <= BYTE:
        raise ValueError(f"a piece of the unknown type {kind}")
    if not math.isfinite(score):
        raise ValueError(f"the piece {text!r} has the score {score}")
    return Piece(text, score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message in order: varints as ints, everything else as its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if size > len(data) - at:
            raise ValueError(f"it ends within a field of {size} bytes")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than ten bytes before byte {at}")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a message belongs")
    return value


def _integer(value: Any) -> int:
    """An int32, which takes 64 bits when it is negative."""
    if not isinstance(value, int):
        raise ValueError("a message where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _is_tiktoken(data: bytes) -> bool:
    first, _, rank = data[:256].partition(b"\n")[0].rpartition(b" ")
    return rank.isdigit() and first.isascii() and len(first) % 4 == 0 and len(first) > 0
