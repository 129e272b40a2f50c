"""One generation: prompts as ids go in, pieces of text come out as they become certain, completions at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from intermodal.generation.batch import RUN
from intermodal.generation.decoding import Decoding
from intermodal.generation.prompts import require_tokenizer
from intermodal.generation.sampling import Mode, controls
from intermodal.generation.settings import GenerationSettings, Lengths
from intermodal.generation.transcript import Completion, Transcript

QUICK_SECONDS = 0.1
"""How long one call into the backend lasts where somebody waits for pieces, or a stop string may end a row."""

PATIENT_SECONDS = 0.5
"""How long otherwise: Ctrl-C works between calls."""


class Run:
    """Generation for some prompts. Iterate it for `(index, piece)`; `completions` are there when it is through.

    Making one checks its arguments, and computes nothing.

    Args:
        model: a causal language model.
        rows: token ids of each prompt; none is empty.
        settings: of this call.
        stream: somebody waits for pieces.
        inputs: what the backbone reads beside the prompts, such as pixels.

    Raises:
        GenerationError: more is asked for than the context holds.
        TokenizerError: there are stop strings, and no tokenizer.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[Sequence[int]],
        settings: GenerationSettings,
        *,
        stream: bool = False,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        if settings.stop_strings:
            require_tokenizer(model)
        self._model, self._rows, self._settings, self._inputs = model, rows, settings, inputs
        context = getattr(model.config, "max_position_embeddings", None)
        self._lengths = [settings.resolve_lengths(len(row), context) for row in rows]
        self._transcripts = [
            Transcript(model.tokenizer, lengths.new, settings.eos_token_id, settings.stop_strings)
            for lengths in self._lengths
        ]
        self._pace = Pace(QUICK_SECONDS if stream or settings.stop_strings else PATIENT_SECONDS)
        self._pieces = self._generate()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Generate, and give out pieces of text that are not empty. Iterated again, it goes on where it was left."""
        return self._pieces

    def _generate(self) -> Iterator[tuple[int, str]]:
        if not self._rows:
            return
        mode, numbers = choice(self._model, self._settings, self._lengths)
        limits = [lengths.new for lengths in self._lengths]
        decoding = Decoding(self._model, self._rows, limits, mode, numbers, self._settings.seed, self._inputs)
        while not all(transcript.finish_reason for transcript in self._transcripts):
            with self._pace as steps:
                ids = decoding.advance(steps)
            for row, (transcript, tokens) in enumerate(zip(self._transcripts, ids.tolist(), strict=True)):
                if transcript.finish_reason:
                    continue
                piece = transcript.push(tokens)
                if isinstance(transcript.stopped_by, str):
                    decoding.finish(row)
                if piece:
                    yield row, piece

    def finish(self) -> list[Completion]:
        """Generate to the end."""
        for _ in self:
            pass
        return self.completions

    @property
    def completions(self) -> list[Completion]:
        """What was generated for each prompt, once all have ended."""
        return [transcript.completion(len(row)) for transcript, row in zip(self._transcripts, self._rows, strict=True)]


def choice(model: Any, settings: GenerationSettings, lengths: Sequence[Lengths]) -> tuple[Mode, Any]:
    """How tokens are chosen: what is compiled, and its arguments."""
    tokens = model.config.vocab_size
    if model.tokenizer is not None:
        tokens = min(tokens, model.tokenizer.max_id + 1)  # rows beyond are padding of the table
    least_new = [length.least_new for length in lengths]
    sample = settings.do_sample
    mode = Mode(
        tokens=tokens,
        sample=sample,
        top_k=sample and 0 < settings.top_k < tokens,
        top_p=sample and settings.top_p < 1,
        penalty=settings.repetition_penalty != 1,
        least_new=any(least_new),
    )
    return mode, controls(
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        stops=settings.eos_token_id,
        least_new=least_new,
    )


class Pace:
    """How many steps to take in one call, so that calls last about `seconds`.

    The first calls compile, and say nothing about the next: so the number at most doubles.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._steps, self._started = seconds, 1, 0.0

    def __enter__(self) -> int:
        self._started = time.perf_counter()
        return self._steps

    def __exit__(self, *_: object) -> None:
        rate = self._steps / max(time.perf_counter() - self._started, 1e-6)
        self._steps = max(1, min(int(rate * self._seconds), 2 * self._steps, RUN))
