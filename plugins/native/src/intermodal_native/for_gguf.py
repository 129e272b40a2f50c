"""Values of GGUF's packed blocks, computed in C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intermodal_native.library import DTYPES, library

TARGETS = ("float32", "float16", "bfloat16")
"""Dtypes that values can be written in, rounded half to even."""

_native = library()


def dequantize(number: int, packed: NDArray[np.uint8], book: NDArray[np.int8] | None, out: np.ndarray) -> None:
    """Write the values of whole blocks. Other threads run meanwhile.

    Args:
        number: of the type, in ggml's own numbering (`enum ggml_type`).
        packed: the blocks' bytes, contiguous.
        book: the code book of a type that has one, (codes, 4 or 8) contiguous; the gguf package's own.
        out: as many values as the blocks hold, contiguous, of a dtype of `TARGETS`.

    Raises:
        ValueError: the type is not known, or sizes or dtypes do not go together; nothing is written then.
    """
    arrays = (packed, out) if book is None else (packed, out, book)
    contiguous = all(array.flags.c_contiguous for array in arrays) and out.flags.writeable
    address, nbytes = (None, 0) if book is None else (book.ctypes.data, book.nbytes)
    target = DTYPES[out.dtype.name] if out.dtype.name in TARGETS else -1
    if not contiguous or not _native.native_dequantize(
        number, packed.ctypes.data, packed.nbytes, address, nbytes, out.ctypes.data, out.size, target
    ):
        raise ValueError(
            f"blocks of type {number} in {packed.nbytes} bytes with a code book of {nbytes} bytes "
            f"are not {out.size} contiguous values in {out.dtype}"
        )
