"""The text of one row as its tokens come in, and the reason it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from intermodal.generation.detokenize import StreamDecoder
from intermodal.generation.stopping import StopScanner

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Completion:
    """What was generated for one prompt.

    Attributes:
        text: the continuation, without stop token or stop string; None where the model has no tokenizer.
        ids: its token ids, with the stop token, or with the tokens that a stop string was found in.
        prompt_tokens: length of the prompt in tokens.
        finish_reason: `"stop"` at a stop token or stop string, `"length"` where no more tokens were allowed.
        stopped_by: the stop token or stop string; None for `"length"`.
    """

    text: str | None
    ids: tuple[int, ...]
    prompt_tokens: int
    finish_reason: FinishReason
    stopped_by: int | str | None


class Transcript:
    """Collects one row.

    Args:
        tokenizer: None to collect ids alone.
        limit: how many tokens the row may have.
        stop_ids: tokens that end it.
        stop_strings: texts that end it; they need a tokenizer.

    Attributes:
        ids: all tokens so far.
        finish_reason: None until it has ended.
        stopped_by: the stop token or stop string that ended it.
    """

    def __init__(self, tokenizer: Any, limit: int, stop_ids: Iterable[int], stop_strings: Sequence[str]) -> None:
        self.ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.stopped_by: int | str | None = None
        self._limit = limit
        self._stop_ids = frozenset(stop_ids)
        self._decoder = StreamDecoder(tokenizer) if tokenizer else None
        self._scanner = StopScanner(stop_strings)
        self._text: list[str] = []

    def push(self, ids: Iterable[int]) -> str:
        """Take the next tokens, ignore what comes after the end, and return the text that is now certain."""
        shown = []
        for index in ids:
            if self.finish_reason:
                break
            self.ids.append(int(index))
            if index in self._stop_ids:
                self._finish("stop", int(index))
            elif self._decoder:
                shown.append(self._scan(self._decoder.push(int(index))))
            if not self.finish_reason and len(self.ids) >= self._limit:
                self._finish("length", None)
            if self.finish_reason and self._decoder:
                shown.append(self._scan(self._decoder.flush()) + self._scanner.flush())
        self._text.extend(shown)
        return "".join(shown)

    def completion(self, prompt_tokens: int) -> Completion:
        """The row when it has ended."""
        assert self.finish_reason
        text = "".join(self._text) if self._decoder else None
        return Completion(text, tuple(self.ids), prompt_tokens, self.finish_reason, self.stopped_by)

    def _scan(self, text: str) -> str:
        shown = self._scanner.push(text)
        if self._scanner.stopped and not isinstance(self.stopped_by, str):
            self._finish("stop", self._scanner.stopped)
        return shown

    def _finish(self, reason: FinishReason, stopped_by: int | str | None) -> None:
        self.finish_reason, self.stopped_by = reason, stopped_by
