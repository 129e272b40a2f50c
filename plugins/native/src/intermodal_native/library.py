"""The compiled library: found, loaded, and told how many threads it may use."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import zlib
from pathlib import Path

PATH = Path(__file__).with_name("libintermodal_native.so")

FLOAT32, BFLOAT16, FLOAT16, INT8, INT4 = range(5)
"""How the elements of a weight are stored, numbered as in `c/native.h`."""

DTYPES = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16, "int8": INT8}

STORED = {**DTYPES, "uint8": INT4}
"""The same, and the dtype of arrays that hold two 4-bit integers in a byte; those need a scale for each group."""

FLOATS = ("float32", "bfloat16", "float16")
"""What weights of norms and biases may be stored in."""

ACTIVATIONS = {None: 0, "silu": 1, "gelu": 2, "gelu_pytorch_tanh": 3, "relu": 4}
"""Activations that are computed with products, by their names in configs, numbered as in `c/native.h`."""

INSTRUCTIONS = ("baseline", "avx2", "avx512")
"""The sets of instructions that there are products for, numbered as in `c/native.h`."""


class Matrix(ctypes.Structure):
    """`struct matrix` of `c/native.h`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("scale_dtype", ctypes.c_int32),
        ("minimum", ctypes.c_void_p),
        ("groups", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("bias_dtype", ctypes.c_int64),
    )


class Around(ctypes.Structure):
    """`struct around` of `c/native.h`."""

    _fields_ = (
        ("norm", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("norm_dtype", ctypes.c_int32),
        ("norm_offset", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("activation", ctypes.c_int32),
        ("gated", ctypes.c_int32),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """The library, loaded once.

    Raises:
        OSError: it was not built, or from other sources than these, or does not load on this machine.
    """
    if not PATH.exists():
        raise OSError(
            f"{PATH} is not there: intermodal-native was installed where there was no C compiler. Install gcc or clang "
            "and then: pip install --force-reinstall --no-deps intermodal-native"
        )
    loaded = ctypes.CDLL(str(PATH))
    _check_sources(loaded)
    loaded.native_use_threads.argtypes = [ctypes.c_int]
    loaded.native_use_threads.restype = None
    loaded.native_use_path.argtypes = [ctypes.c_int]
    loaded.native_product.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.POINTER(Matrix),
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(Around),
    ]
    loaded.native_norm.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_float),
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
    ]
    loaded.native_norm.restype = None
    loaded.native_rotate.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
    ]
    loaded.native_rotate.restype = None
    loaded.native_attend.argtypes = [ctypes.c_char_p]
    loaded.native_attend.restype = ctypes.c_char_p
    loaded.native_xla_register.argtypes = [*(ctypes.c_void_p, ctypes.c_char_p) * 2, ctypes.c_size_t]
    loaded.native_dequantize.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int,
    ]
    loaded.native_use_threads(usable_cores())
    return loaded


def _check_sources(loaded: ctypes.CDLL) -> None:
    """See that an editable installation's library is of the C files beside it: their structures are declared here."""
    sources = sorted((Path(__file__).parent / "c").glob("*.[ch]"))
    now = zlib.crc32(b"".join(path.read_bytes() for path in sources))
    compiled = getattr(loaded, "native_fingerprint", lambda: None)()
    if sources and (compiled is None or compiled & 0xFFFFFFFF != now):
        raise OSError(
            f"{PATH} was compiled from other C files than those in {sources[0].parent}. Compile it again: "
            "pip install --no-deps --force-reinstall -e plugins/native"
        )


def usable_cores() -> int:
    """How many cores this process may use, whatever the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """The cores that a container is given, where one is limited; a great many otherwise."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 16
