"""Kernels compiled for this machine's processor, where a plugin brings them; without one everything works as well."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection
from typing import Any, Protocol

from intermodal import catalog
from intermodal.errors import PluginError
from intermodal.plugins import manager


class CompiledKernels(Protocol):
    """What the hook `intermodal_kernels` gives.

    Attributes:
        device: the kind of device they are for: `"cpu"`.
        users: who has a module, by name.
        packed: those of them that are backends and whose products take weights in groups, as `Bundle` has them.
    """

    device: str
    users: Collection[str]
    packed: Collection[str]

    def module(self, user: str) -> Any | None:
        """The module for one user of them, a Keras backend or a file format by its name; None where there is none.

        For `"jax"` that is `linears(x, bundles, norm, activation, residual, gated=…)`: linears of x (…, in) float32 and
        what is around them, as `kernels.products` has it, a tuple of (…, out) float32; `supports(x, bundles,
        activation)` says of which.

        For `"gguf"` that is `dequantize(number, packed, book, out)`, the values of whole blocks of ggml's type `number`
        written to an array of a dtype of its `TARGETS`, with the bits of the gguf package.

        Raises:
            ImportError, OSError, RuntimeError: they cannot be used on this machine, and why.
        """
        ...


@functools.cache
def for_cpu(user: str) -> Any | None:
    """The module of compiled kernels for `user`, as `CompiledKernels.module`; None where no plugin gives one.

    Kernels that cannot be loaded give one warning, and are done without.
    """
    if not catalog.usable(catalog.KERNELS, "cpu"):
        return None
    try:
        return manager().kernels("cpu").module(user)
    except (PluginError, ImportError, OSError, RuntimeError) as error:
        warnings.warn(
            f"Compiled kernels are installed and cannot be used, so that generation is slower: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def reads(backend: str, *, load: bool) -> tuple[bool, bool]:
    """Whether compiled kernels read narrow weights for a backend on a CPU, and whether they read packed blocks.

    Args:
        backend: its name.
        load: load them, to be sure that they can be used; else what they say of themselves counts.
    """
    if not catalog.usable(catalog.KERNELS, "cpu") or (load and for_cpu(backend) is None):
        return False, False
    try:
        kernels = manager().kernels("cpu")
    except PluginError:
        return False, False
    return backend in kernels.users, backend in kernels.packed
