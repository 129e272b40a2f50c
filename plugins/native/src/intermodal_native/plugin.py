"""What this package adds to intermodal: kernels compiled for the CPU."""

from __future__ import annotations

import importlib
from typing import Any

from intermodal.api import hookimpl

USERS: tuple[str, ...] = ("gguf", "jax", "tensorflow", "torch")
"""Who has a module here, under this name."""

PACKED: tuple[str, ...] = ("jax", "tensorflow", "torch")
"""Backends whose products take weights in groups."""


class CpuKernels:
    """The kernels of the compiled library."""

    device = "cpu"
    users = USERS
    packed = PACKED

    def module(self, user: str) -> Any | None:
        """`intermodal_native.for_<user>`; importing it loads the library."""
        return importlib.import_module(f"intermodal_native.for_{user}") if user in USERS else None


@hookimpl
def intermodal_kernels() -> list[CpuKernels]:
    """Give the kernels; nothing is loaded yet."""
    return [CpuKernels()]
