"""Rendering chat templates in processes of their own, which can be limited and killed.

A template is a program from a stranger's checkpoint. Jinja's sandbox keeps it from reaching Python, but not from
running forever or eating all memory: loops nest, strings repeat themselves, and a list that holds itself twice over
thirty times has a billion leaves when printed. Much of that happens inside single calls into C, where neither a trace
function, nor an exception from another thread, nor a signal (which only the main thread would get) can stop it. A
process can be given a memory limit and can be killed, from any thread and in a notebook. It sees neither the caller's
memory nor its environment variables. Started once, in a tenth of a second, it answers in a few milliseconds.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from intermodal.errors import ChatTemplateError
from intermodal.processing.chat_worker import FAILED, MAX_OUTPUT, READY, REFUSED, TEXT, read_frame, write_frame

RENDER_SECONDS = 3.0
START_SECONDS = 60.0
MAX_IDLE = 4

# What a Python needs to start, and the clock to be right; no tokens, no keys.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TZ", "LANG", "LC_ALL")
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from intermodal.processing.chat_worker import serve; serve()"
)


def render(template: str, variables: dict[str, Any]) -> str:
    """Render a template in a process of its own.

    Args:
        template: Jinja source.
        variables: of JSON's types only.

    Raises:
        ChatTemplateError: it is malformed, refuses the input, tries to leave its sandbox, takes more than
            `RENDER_SECONDS`, or more memory or output than `chat_worker` allows.
    """
    request = json.dumps([template, variables]).encode()
    worker = _pool.take()
    kind, answer = worker.ask(request)
    if kind in (TEXT, REFUSED):
        _pool.give_back(worker)
    else:
        worker.close()
    if kind != TEXT:
        raise ChatTemplateError(f"The chat template cannot be rendered: {answer}")
    return answer


class Worker:
    """One rendering process. The pool hands it to one thread at a time."""

    def __init__(self) -> None:
        if not sys.executable:
            raise ChatTemplateError("Chat templates are rendered by a Python process, but sys.executable is not set.")
        command = [sys.executable, "-I", "-c", _BOOT, json.dumps([entry for entry in sys.path if entry])]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        pipe = subprocess.PIPE
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise ChatTemplateError(f"The process that renders chat templates cannot be started: {error}") from error
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        if self._receive(START_SECONDS)[0] != READY:
            self.close()
            raise ChatTemplateError(f"The process that renders chat templates ({sys.executable}) did not start.")

    def ask(self, request: bytes) -> tuple[bytes, str]:
        """Send a request and wait for the answer, of kind FAILED where the process was killed or died."""
        try:
            write_frame(self.stdin, TEXT, request)
        except OSError:
            return FAILED, "the process that rendered it died."
        return self._receive(RENDER_SECONDS)

    def _receive(self, seconds: float) -> tuple[bytes, str]:
        late = threading.Event()

        def kill() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            kind, payload = read_frame(self.stdout, 4 * MAX_OUTPUT)
        except (EOFError, OSError):
            kind, payload = FAILED, b"the process that rendered it died, as happens when a template exhausts memory."
        except BaseException:  # Ctrl-C: the answer that nobody reads would be taken for the next one
            self.close()
            raise
        finally:
            timer.cancel()
            timer.join()
        if late.is_set():
            return FAILED, f"it does not end within {seconds:g} seconds."
        return kind, payload.decode("utf-8", "surrogatepass")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.stdout.close()
        with suppress(OSError):  # what is still in the buffer has no reader
            self.stdin.close()


class _Pool:
    """Idle workers. Threads that render at the same time get one each."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[Worker] = []
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def take(self) -> Worker:
        while True:
            with self.lock:
                worker = self.idle.pop() if self.idle else None
            if worker is None:
                return Worker()
            if worker.process.poll() is None:
                return worker
            worker.close()

    def give_back(self, worker: Worker) -> None:
        with self.lock:
            if len(self.idle) < MAX_IDLE:
                self.idle.append(worker)
                return
        worker.close()

    def forget(self) -> None:
        """In a forked child: the pipes are shared with the parent, who goes on using them."""
        self.lock, self.idle = threading.Lock(), []

    def close(self) -> None:
        with self.lock:
            workers, self.idle = self.idle, []
        for worker in workers:
            worker.close()


_pool = _Pool()
