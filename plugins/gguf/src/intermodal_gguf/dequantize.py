"""Turn packed tensors into values: chunk by chunk, on several threads, straight into the target."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import MappingProxyType

import numpy as np

from intermodal_gguf import blocks, superblocks
from intermodal_gguf.planes import Bytes, Floats
from intermodal_gguf.types import StorageType

CHUNK = 1 << 17
"""Values worked on at once: many enough to outweigh the cost of numpy's calls, few enough for the scratch of a thread
(below 1 MB) to stay in a second-level cache."""

_TASK = 1 << 18
"""Values a thread takes at a time."""

_THREADS = os.cpu_count() or 1

Decoder = Callable[[Bytes, Floats], None]

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
        "IQ4_NL": blocks.iq4_nl,
        "IQ4_XS": superblocks.iq4_xs,
        "TQ1_0": superblocks.tq1_0,
        "TQ2_0": superblocks.tq2_0,
        "MXFP4": blocks.mxfp4,
        "NVFP4": blocks.nvfp4,
    }
)


def dequantize_into(storage: StorageType, packed: Bytes, out: np.ndarray) -> None:
    """Dequantise a tensor.

    Args:
        storage: a packed type of `STORAGE_TYPES`.
        packed: the tensor's bytes, flat, whole blocks. Read only.
        out: flat and contiguous, as many values as the blocks hold. float32 is written directly; any other dtype gets
            the float32 values rounded to it.

    The result in float32 equals `gguf.quants.dequantize` and llama.cpp bit for bit.
    """
    decode = _DECODERS.get(storage.name) or _borrowed(storage.name)
    rows = packed.reshape(-1, storage.size)
    per_task = max(1, _TASK // storage.block)
    starts = range(0, len(rows), per_task)

    def work(start: int) -> None:
        stop = min(start + per_task, len(rows))
        _decode_chunks(decode, rows[start:stop], out[start * storage.block : stop * storage.block])

    if len(starts) < 2:
        for start in starts:
            work(start)
        return
    # A pool of its own for each tensor: starting its threads takes far less than a tensor of this size, and a pool that
    # outlived an interrupted start of one of them would keep the process from ending.
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="dequantise") as pool:
        for task in [pool.submit(work, start) for start in starts]:
            task.result()


def _decode_chunks(decode: Decoder, rows: Bytes, out: np.ndarray) -> None:
    per_block = len(out) // len(rows)
    step = max(1, CHUNK // per_block)
    # A damaged scale may be infinite or NaN; what follows from it is the answer, and no reason for a warning.
    with np.errstate(all="ignore"):
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            target = out[start * per_block : (start + len(chunk)) * per_block]
            if out.dtype == np.float32:
                decode(chunk, target.reshape(len(chunk), per_block))
            else:
                scratch = np.empty((len(chunk), per_block), np.float32)
                decode(chunk, scratch)
                np.copyto(target, scratch.reshape(-1), casting="unsafe")


@cache
def _borrowed(name: str) -> Decoder:
    """The gguf package's own dequantiser, for the rarer types: their code books are kept in one place only."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType[name]

    def decode(rows: Bytes, out: Floats) -> None:
        # As one row, because it takes rows by sixteen, and blocks taken as rows would come in crumbs.
        np.copyto(out, dequantize(rows.reshape(1, -1), kind).reshape(out.shape))

    return decode
