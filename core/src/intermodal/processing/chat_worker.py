"""The process that renders chat templates: reads requests from standard input until it ends. See `chat_pool`."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any

MAX_OUTPUT = 16 << 20
MAX_MEMORY = 1 << 29

READY, TEXT, REFUSED, FAILED = b"R", b"T", b"E", b"F"
"""Kinds of answers. After FAILED the process is not to be used again."""


def serve() -> None:
    """Answer requests: each a JSON list of the template and its variables."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the caller decides what it means
    # Imported before the limits are set, which might leave no room for code.
    from intermodal.processing.chat_environment import ChatEnvironment

    compiled = lru_cache(maxsize=16)(ChatEnvironment().from_string)
    _limit_resources()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    write_frame(answers, READY, b"")
    while True:
        try:
            _, request = read_frame(requests, sys.maxsize)
        except EOFError:
            return
        kind, text = _answer(compiled, request)
        write_frame(answers, kind, text.encode("utf-8", "surrogatepass"))


def _answer(compiled: Any, request: bytes) -> tuple[bytes, str]:
    from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

    try:
        template, variables = json.loads(request)
        parts, size = [], 0
        for part in compiled(template).generate(variables):
            parts.append(part)
            size += len(part)
            if size > MAX_OUTPUT:
                return REFUSED, f"its output is larger than {MAX_OUTPUT} characters."
        return TEXT, "".join(parts)
    except SecurityError as error:
        return REFUSED, f"it was stopped by its sandbox: {error}"
    except TemplateSyntaxError as error:
        return REFUSED, f"line {error.lineno}: {error.message}"
    except TemplateError as error:
        return REFUSED, str(error)
    except MemoryError:
        return FAILED, f"it needs more than {MAX_MEMORY >> 20} MiB of memory."
    except RecursionError:
        return FAILED, "it is nested too deeply, or calls itself without end."
    except Exception as error:  # whatever a template's own operations raise: 1 / 0, "a" + 1
        return REFUSED, f"{type(error).__name__}: {error}"


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits: there the deadline and the sandbox's own checks remain
        return
    for name, limit in (("RLIMIT_AS", MAX_MEMORY), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        which = getattr(resource, name)
        _, hard = resource.getrlimit(which)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(ValueError, OSError):  # macOS refuses some; the same remains there
            resource.setrlimit(which, (limit, limit))


def write_frame(pipe: IO[bytes], kind: bytes, payload: bytes) -> None:
    """Write a message: one byte for its kind, eight for its length, and the payload."""
    pipe.write(kind + len(payload).to_bytes(8, "little") + payload)
    pipe.flush()


def read_frame(pipe: IO[bytes], most: int) -> tuple[bytes, bytes]:
    """Read a message, as (kind, payload).

    Raises:
        EOFError: the other end is gone, or the payload is larger than `most`.
    """
    head = pipe.read(9)
    size = int.from_bytes(head[1:], "little")
    if len(head) < 9 or size > most:
        raise EOFError
    payload = pipe.read(size)
    if len(payload) < size:
        raise EOFError
    return head[:1], payload
