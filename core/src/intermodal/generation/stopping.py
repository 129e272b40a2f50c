"""Stop strings in text that arrives in pieces: where to cut, and how much is safe to show meanwhile."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Watches one text for stop strings.

    A stop string may span pieces, and several may end at the same character; then the one that begins first counts.
    Nothing of it nor after it is ever given out: text that might be the beginning of one is held back.

    Example:
        scanner = StopScanner(["</answer>"])
        for piece in stream:
            yield scanner.push(piece)
            if scanner.stopped:
                break
        yield scanner.flush()

    Args:
        stops: the stop strings; none is empty.

    Attributes:
        stopped: the stop string that was found, or None.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise ValueError("an empty stop string would stop before anything is generated")
        self.stopped: str | None = None
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> str:
        """Take a piece and return what can be shown now. Nothing more comes once `stopped` is set."""
        if self.stopped is not None:
            return ""
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, start, self.stopped = min(found)
            self._held = ""
            return text[:start]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
