"""Speech recognition: the text of a recording, by a model of connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError, TokenizerError
from intermodal.pipelines.base import Row
from intermodal.pipelines.recordings import RecordingPipeline
from intermodal.processing.ctc import CTCTokenizer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call.

    Attributes:
        return_timestamps: also return `chunks`, when each `"char"` or `"word"` was said.
        chunk_length_s: compute a recording in pieces of so many seconds; 0 and None for the whole at once.
        stride_length_s: how many seconds a piece shares with those beside it, on both sides or as (left, right), and
            leaves to them. None: a sixth of its length.
    """

    return_timestamps: str | None = None
    chunk_length_s: float | None = None
    stride_length_s: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.return_timestamps not in (None, "char", "word"):
            raise InputError(f"return_timestamps={self.return_timestamps!r}: expected 'char' or 'word'.")
        if not _is_length(self.chunk_length_s or 0):
            raise InputError(f"chunk_length_s={self.chunk_length_s!r}: expected seconds, or None.")
        strides = self.strides
        if len(strides) != 2 or not all(map(_is_length, strides)):
            raise InputError(f"stride_length_s={self.stride_length_s!r}: expected seconds, or (left, right).")

    @property
    def strides(self) -> tuple[float, ...]:
        """Seconds on the left and on the right."""
        given = self.stride_length_s
        if given is None:
            given = (self.chunk_length_s or 0) / 6
        return tuple(given) if isinstance(given, Sequence) else (given, given)


def _is_length(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < float("inf")


@dataclass(frozen=True)
class _Piece:
    """Samples of a piece, and how many of them on each side are left to the pieces beside it."""

    samples: int
    left: int
    right: int


class SpeechRecognitionPipeline(RecordingPipeline):
    """Called with a recording. A result is `{"text"}`, and with `return_timestamps` `"chunks"` too.

    A chunk is `{"text": …, "timestamp": (start, end)}`, in seconds.
    """

    task = "automatic-speech-recognition"
    model_task = "automatic-speech-recognition"
    options_class = Options
    tokenizer: CTCTokenizer

    def __init__(self, model: Any, tokenizer: Any = None, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        if not isinstance(self.tokenizer, CTCTokenizer):
            raise TokenizerError(
                f"The pipeline {self.task} makes text of frames, and the checkpoint holds no vocab.json of letters: "
                "pass tokenizer=intermodal.AutoTokenizer.from_pretrained(…) of one that does."
            )

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row, or one for each piece."""
        samples = self.samples(item)
        if not options.chunk_length_s:
            return [self.recording_row(samples)]
        return [self.recording_row(part, piece) for part, piece in self._pieces(samples, options)]

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> dict[str, Any]:
        """The text of the likeliest letters of all frames."""
        frames = np.concatenate([self._own_frames(row.about, outputs["logits"]) for row, outputs in parts])
        decoded = self.tokenizer.decode(frames, output_char_offsets=True)
        if options.return_timestamps is None:
            return {"text": decoded.text}
        offsets = decoded.char_offsets
        if options.return_timestamps == "word":
            offsets = self.tokenizer.word_offsets(offsets)
        return {"text": decoded.text, "chunks": [self._chunk(each, options.return_timestamps) for each in offsets]}

    @property
    def _ratio(self) -> int:
        """Samples for each frame."""
        return self.model.config.inputs_to_logits_ratio

    def _pieces(self, samples: np.ndarray, options: Options) -> Iterator[tuple[np.ndarray, _Piece]]:
        """Pieces of a recording, their lengths and strides rounded to whole frames."""
        length, left, right = (self._whole(seconds) for seconds in (options.chunk_length_s or 0, *options.strides))
        if length <= left + right:
            raise InputError(
                f"Pieces of chunk_length_s={options.chunk_length_s} are no longer than what they leave to those beside "
                f"them, stride_length_s={options.strides}."
            )
        for start in range(0, len(samples), length - left - right):
            part = samples[start : start + length]
            last = start + length >= len(samples)
            own_left = left if start else 0
            if len(part) > own_left:
                yield part, _Piece(len(part), own_left, 0 if last else right)
            if last:
                return

    def _whole(self, seconds: float) -> int:
        return round(seconds * self.feature_extractor.sampling_rate / self._ratio) * self._ratio

    def _own_frames(self, piece: _Piece | None, logits: np.ndarray) -> np.ndarray:
        """The likeliest id of each frame that is a piece's own; logits (frames, vocabulary)."""
        ids = logits.argmax(axis=-1)
        if piece is None:
            return ids
        frames = round(piece.samples / self._ratio)
        left, right = (round(side / piece.samples * frames) for side in (piece.left, piece.right))
        return ids[left : frames - right]

    def _chunk(self, offset: dict[str, Any], kind: str) -> dict[str, Any]:
        rate = self.feature_extractor.sampling_rate
        start, end = (offset[name] * self._ratio / rate for name in ("start_offset", "end_offset"))
        return {"text": offset[kind], "timestamp": (start, end)}
