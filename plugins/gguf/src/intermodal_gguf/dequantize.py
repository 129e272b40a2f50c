"""Turn packed tensors into values: chunk by chunk, on several threads, straight into the target.

Compiled kernels do it where a plugin brings them, else numpy, with the same bits.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import MappingProxyType

import numpy as np
from intermodal.api import compiled

from intermodal_gguf import blocks, codebooks, superblocks
from intermodal_gguf.planes import Bytes, Floats, empty, scratch, start_over
from intermodal_gguf.types import STORAGE_TYPES, StorageType

CHUNK = 1 << 20
"""Values a thread works on at once in numpy. Threads take turns between numpy's calls, and waking the other costs more
than a second-level cache saves: measured, chunks of 2¹⁶ values are slower on two threads than on one."""

COMPILED_CHUNK = 1 << 18
"""The same in compiled kernels, which take turns but once a chunk: its blocks and values stay in the caches."""

_SCRATCH = 5  # bytes of scratch memory for each value of a chunk; the hungriest type takes 4.6

_one_pool = Lock()
_THREADS = os.cpu_count() or 1

Decoder = Callable[[Bytes, Floats], None]

Writer = Callable[[Bytes, np.ndarray], None]
"""Fills an array of any floating dtype with the values of whole blocks."""

Fetch = Callable[[int, Bytes], None]
"""Fills an array with a tensor's bytes, from an offset on."""

_DECODERS = MappingProxyType(
    {
        "Q4_0": blocks.q4_0,
        "Q4_1": blocks.q4_1,
        "Q5_0": blocks.q5_0,
        "Q5_1": blocks.q5_1,
        "Q8_0": blocks.q8_0,
        "Q2_K": superblocks.q2_k,
        "Q3_K": superblocks.q3_k,
        "Q4_K": superblocks.q4_k,
        "Q5_K": superblocks.q5_k,
        "Q6_K": superblocks.q6_k,
        "IQ1_S": codebooks.iq1_s,
        "IQ1_M": codebooks.iq1_m,
        "IQ2_XXS": codebooks.iq2_xxs,
        "IQ2_XS": codebooks.iq2_xs,
        "IQ2_S": codebooks.iq2_s,
        "IQ3_XXS": codebooks.iq3_xxs,
        "IQ3_S": codebooks.iq3_s,
        "IQ4_NL": blocks.iq4_nl,
        "IQ4_XS": superblocks.iq4_xs,
        "TQ1_0": superblocks.tq1_0,
        "TQ2_0": superblocks.tq2_0,
        "MXFP4": blocks.mxfp4,
        "NVFP4": blocks.nvfp4,
    }
)


_NUMBERS = MappingProxyType({storage.name: number for number, storage in STORAGE_TYPES.items()})


def dequantize_into(storage: StorageType, fetch: Fetch, out: np.ndarray) -> None:
    """Dequantise a tensor, or whole blocks of one.

    Args:
        storage: a packed type of `STORAGE_TYPES`.
        fetch: gives the packed bytes; called on several threads.
        out: flat and contiguous, as many values as the blocks hold. float32 is written directly; any other dtype gets
            the float32 values rounded to it.

    The result in float32 equals `gguf.quants.dequantize` and llama.cpp bit for bit. Scratch memory is a chunk a thread.
    """
    write = compiled_writer(storage, out.dtype)
    chunk = COMPILED_CHUNK if write else CHUNK
    write = write or numpy_writer(storage)
    step = max(1, chunk // storage.block) * storage.block
    starts = range(0, len(out), step)
    threads = min(_THREADS, len(starts))

    def work(thread: int) -> None:
        # A damaged scale may be infinite or NaN; what follows from it is the answer, and no reason for a warning.
        with np.errstate(all="ignore"), scratch(_SCRATCH * step):
            for start in starts[thread::threads]:
                start_over()
                target = out[start : start + step]
                packed = empty((len(target) // storage.block, storage.size), np.uint8)
                fetch(start // storage.block * storage.size, packed)
                write(packed, target)

    if threads < 2:
        for thread in range(threads):
            work(thread)
        return
    # A pool of its own for each tensor: starting its threads takes far less than a tensor of this size, and a pool that
    # outlived an interrupted start of one of them would keep the process from ending. One pool at a time: it has all
    # cores, and scratch memory for them.
    with _one_pool, ThreadPoolExecutor(threads, thread_name_prefix="dequantise") as pool:
        for task in [pool.submit(work, thread) for thread in range(threads)]:
            task.result()


def compiled_writer(storage: StorageType, dtype: np.dtype) -> Writer | None:
    """A writer by compiled kernels; None where there are none, or none for this dtype."""
    kernels = compiled.for_cpu("gguf")
    if kernels is None or dtype.name not in kernels.TARGETS:
        return None
    number, book = _NUMBERS[storage.name], codebooks.signed_bytes(storage.name)
    return lambda packed, target: kernels.dequantize(number, packed, book, target)


def numpy_writer(storage: StorageType) -> Writer:
    """A writer in numpy, for any dtype."""
    decode = _DECODERS[storage.name]

    def write(packed: Bytes, target: np.ndarray) -> None:
        values = target if target.dtype == np.float32 else empty((len(target),), np.float32)
        decode(packed, values.reshape(len(packed), storage.block))
        if values is not target:
            np.copyto(target, values, casting="unsafe")

    return write
