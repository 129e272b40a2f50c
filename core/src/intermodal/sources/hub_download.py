"""Parallel downloads with huggingface_hub's progress bars, that Ctrl-C ends at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

_WORKERS = 8
_SMALL = 10_000_000  # bars of files below this size are wiped when they end


class _Cancelled(Exception):
    """The main thread was interrupted; whoever still downloads stops."""


def download_all(names: Sequence[str], download: Callable[[str, type[Any]], object]) -> None:
    """Download files, several at once.

    They run on daemon threads: the interpreter does not wait for them, so Ctrl-C leaves at once. The client writes to
    a temporary name and renames at the end, so what is left behind is never taken for a whole file.

    Args:
        names: the files.
        download: fetches one, given its name and the class of its progress bar; raises what went wrong.

    Raises:
        Exception: the first that `download` raised; the others are cancelled.
    """
    cancelled = threading.Event()
    bar = _cancellable_bar(cancelled)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        while not cancelled.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                download(name, bar)
            except BaseException as error:
                done.put(error)
                return
            done.put(None)

    try:
        for _ in range(min(_WORKERS, len(names))):
            threading.Thread(target=work, name="intermodal-download", daemon=True).start()
        for _ in names:
            outcome = done.get()
            if outcome is not None:
                raise outcome
    finally:
        cancelled.set()


def _cancellable_bar(cancelled: threading.Event) -> type[Any]:
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """The client's own bar; it also carries the word to stop into the transfer."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if (kwargs.get("total") or 0) < _SMALL:
                kwargs.setdefault("leave", False)
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            if cancelled.is_set():
                raise _Cancelled
            return super().update(n)

    return Bar
