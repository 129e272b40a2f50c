"""Text generation on every backend: settings, prompts, the compiled loop, sampling, stopping and streaming."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.generation.calls import chat, generate
    from intermodal.generation.run import Run
    from intermodal.generation.settings import GenerationSettings
    from intermodal.generation.transcript import Completion

_HOME_OF = {
    "Completion": "transcript",
    "GenerationSettings": "settings",
    "Run": "run",
    "chat": "calls",
    "generate": "calls",
}

__all__ = ["Completion", "GenerationSettings", "Run", "chat", "generate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"intermodal.generation has no name {name!r}")
    return getattr(importlib.import_module(f"intermodal.generation.{_HOME_OF[name]}"), name)
