"""The few array steps that every dequantiser is made of.

numpy pays some ten nanoseconds for each innermost loop, and a block is only 32 values, so the steps avoid loops over
single blocks: a block's bytes are first gathered into *planes*, arrays of (plane, block, word) where each plane holds
one contiguous run of the output of every block. Bits are then cut out of whole planes, eight bytes in a 64-bit word
at once, and only the conversion to float32 goes back to the order of the output.

What lies between is written to scratch memory that a thread uses again for every chunk: the first touch of fresh
memory costs more than the arithmetic.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Floats = NDArray[np.float32]

_EACH_BYTE = 0x0101010101010101
_LINE = 64  # bytes of a cache line

_local = threading.local()
_spare: list[Bytes] = []


@contextmanager
def scratch(nbytes: int) -> Iterator[None]:
    """Let `empty` take from `nbytes` of memory of this thread's own. Threads that end leave theirs to the next."""
    try:
        memory = _spare.pop()
    except IndexError:
        memory = np.empty(0, np.uint8)
    _local.memory, _local.taken = memory if len(memory) >= nbytes else np.empty(nbytes, np.uint8), 0
    try:
        yield
    finally:
        _spare.append(_local.memory)
        del _local.memory


def start_over() -> None:
    """Give all that `empty` has taken back to this thread's scratch memory."""
    _local.taken = 0


def empty(shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """An uninitialised array, from this thread's scratch memory while that lasts."""
    kind = np.dtype(dtype)
    start: int = getattr(_local, "taken", 0)
    stop = start + math.prod(shape) * kind.itemsize
    memory: Bytes | None = getattr(_local, "memory", None)
    if memory is None or stop > len(memory):
        return np.empty(shape, kind)
    _local.taken = -(-stop // _LINE) * _LINE
    return memory[start:stop].view(kind).reshape(shape)


def half(blocks: Bytes, start: int) -> Floats:
    """The float16 at byte `start` of each block, as a float32 column (blocks, 1)."""
    return blocks[:, start : start + 2].view(np.float16).astype(np.float32)


def planes(blocks: Bytes, start: int, stop: int, count: int = 1) -> Words:
    """Bytes `start` to `stop` of each block, cut into `count` planes: (count, blocks, words)."""
    cut = blocks[:, start:stop].reshape(len(blocks), count, -1)
    return _transposed(cut).view(np.uint64)


def _transposed(runs: Bytes) -> Bytes:
    """Swap the first two axes of (a, b, bytes), contiguously."""
    # A run of bytes moves as one item, so that the innermost loop is over items.
    items = runs.view(np.dtype((np.void, runs.shape[2])))[..., 0]
    found = empty((*items.T.shape, runs.shape[2]), np.uint8)
    np.copyto(found.view(items.dtype)[..., 0], items.T)
    return found


def bits(words: Words, start: int, count: int, out: Words | None = None) -> Words:
    """Bits `start` to `start + count` of every byte, as the lowest bits of that byte."""
    found = empty(words.shape, np.uint64) if out is None else out
    np.right_shift(words, np.uint64(start), out=found)
    return np.bitwise_and(found, np.uint64(_EACH_BYTE * ((1 << count) - 1)), out=found)


def split(words: Words, count: int) -> Words:
    """Cut each byte into fields of `count` bits, lowest first: each plane becomes 8 / `count` planes."""
    fields = 8 // count
    out = empty((len(words), fields, *words.shape[1:]), np.uint64)
    for field in range(fields):
        bits(words, field * count, count, out=out[:, field])
    return out.reshape(-1, *words.shape[1:])


def nibbles(words: Words) -> Words:
    """Cut each plane into one of all low halves of its bytes and one of all high ones."""
    return split(words, 4)


def fill(out: NDArray[Any], quants: Words, minus: int = 0) -> None:
    """Write planes of signed bytes, less `minus`, as the numbers of each block, one plane behind another."""
    signed = quants.view(np.int8)
    if minus:
        np.subtract(signed, np.int8(minus), out=signed)
    np.copyto(out, _transposed(signed.view(np.uint8)).view(np.int8).reshape(out.shape))


def scale(out: Floats, scales: Floats) -> None:
    """Multiply each part of each block by its scale (blocks, parts), in place."""
    values = _parts(out, scales)
    np.multiply(values, scales.reshape(-1, 1), out=values)


def shift(out: Floats, offsets: Floats) -> None:
    """Add to each part of each block its offset (blocks, parts), in place."""
    values = _parts(out, offsets)
    np.add(values, offsets.reshape(-1, 1), out=values)


def lower(out: Floats, offsets: Floats) -> None:
    """Subtract from each part of each block its offset (blocks, parts), in place."""
    values = _parts(out, offsets)
    np.subtract(values, offsets.reshape(-1, 1), out=values)


def _parts(out: Floats, of_parts: Floats) -> Floats:
    return out.reshape(of_parts.size, -1)


def pair_table(values: Sequence[int]) -> NDArray[np.complex64]:
    """A table from a byte to the two float32 values its halves stand for, the low half's first."""
    byte = np.arange(256)
    known = np.array(values, np.float32)
    return np.stack([known[byte & 0x0F], known[byte >> 4]], axis=-1).view(np.complex64).reshape(256)


def look_up(table: NDArray[np.complex64], packed: Bytes, out: Floats) -> None:
    """Write (…, n) bytes as (…, 2, n) values: all low halves, then all high ones. One look-up serves two values."""
    found = empty(packed.shape, table.dtype)
    np.take(table, packed, mode="clip", out=found)
    pairs = found.view(np.float32).reshape(*packed.shape, 2)
    np.copyto(out[..., 0, :], pairs[..., 0])
    np.copyto(out[..., 1, :], pairs[..., 1])
