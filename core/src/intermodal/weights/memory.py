"""Host buffers that every backend can use without a copy, and their way into a backend's own tensor."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np

from intermodal.dtypes import numpy_dtype

# Alignment below which JAX copies in silence, and at which TensorFlow's kernels abort the process.
ALIGNMENT = 64

_OWN_PAGES = 1 << 18  # bytes from which an array gets pages of its own
_PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An uninitialised array whose first byte is at a multiple of 64. It is touched for the first time when filled."""
    kind = numpy_dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    raw = _pages(nbytes) if nbytes >= _OWN_PAGES else np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(kind).reshape(shape)


def _pages(nbytes: int) -> np.ndarray:
    """Memory straight from the system, which it goes back to as soon as the array is gone.

    numpy asks for huge pages. Where the system has to find such pages first, as in a virtual machine, their first touch
    takes several times as long as that of as many small ones, and a model decodes a few percent faster in them at most.
    """
    return np.frombuffer(mmap.mmap(-1, nbytes, **_PRIVATE), np.uint8)


def give_back() -> None:
    """Give the system what was allocated and freed, which glibc keeps for the next time; elsewhere it does nothing.

    To build a tokenizer of 50,000 words takes three times the memory that it keeps, as many small pieces.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # of another C library, or Windows, which names no library None
        return None


def takes_in_place(values: np.ndarray) -> bool:
    """Whether the running backend can use this memory as it is: torch takes any address, others multiples of 64."""
    import keras

    return keras.backend.backend() == "torch" or values.ctypes.data % ALIGNMENT == 0


def to_backend(values: np.ndarray) -> Any:
    """Hand an array to the running backend: zero-copy on a CPU, a transfer on an accelerator.

    The backend's tensor keeps the buffer alive; the caller must not write to it afterwards.
    """
    import keras

    match keras.backend.backend():
        case "jax":
            return _to_jax(values)
        case "torch":
            return _to_torch(values)
        case "tensorflow":
            return _to_tensorflow(values)
        case other:
            raise RuntimeError(f"no way to hand weights to backend {other!r}")


def _to_jax(values: np.ndarray) -> Any:
    import jax

    return jax.device_put(values)


def _to_torch(values: np.ndarray) -> Any:
    import torch
    from keras.src.backend.torch.core import get_device  # the device scope that keras.device() sets

    # torch reads no ml_dtypes: pass such values by their bits.
    if values.dtype.name in _TORCH_BY_BITS:
        bits, name = _TORCH_BY_BITS[values.dtype.name]
        tensor = torch.from_numpy(values.view(bits)).view(getattr(torch, name))
    else:
        tensor = torch.from_numpy(values)
    device = get_device()
    return tensor if device == "cpu" else tensor.to(device)


def _to_tensorflow(values: np.ndarray) -> Any:
    import tensorflow as tf

    if values.ndim == 0 or values.size == 0 or values.ctypes.data % ALIGNMENT:
        return tf.convert_to_tensor(values)
    if values.dtype.name == "bfloat16":
        return tf.bitcast(tf.experimental.dlpack.from_dlpack(values.view(np.uint16).__dlpack__()), tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(values.__dlpack__())


def from_backend(tensor: Any) -> np.ndarray:
    """A tensor of the running backend as a numpy array (ml_dtypes' where numpy has none), without a copy on a CPU."""
    import keras

    if keras.backend.backend() == "torch":
        tensor = tensor.detach().cpu()
        name = str(tensor.dtype).removeprefix("torch.")
        if name in _TORCH_BY_BITS:
            import torch

            bits = getattr(torch, np.dtype(_TORCH_BY_BITS[name][0]).name)
            return tensor.view(bits).numpy().view(numpy_dtype(name))
        return tensor.numpy()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(tensor)  # variables copy
    return np.asarray(tensor)


_TORCH_BY_BITS = {
    "bfloat16": (np.int16, "bfloat16"),
    "float8_e4m3fn": (np.int8, "float8_e4m3fn"),
    "float8_e5m2": (np.int8, "float8_e5m2"),
}
