"""The few array steps that every dequantiser is made of.

numpy pays some ten nanoseconds for each innermost loop, and a block is only 32 values, so the steps avoid loops over
single blocks: a block's bytes are first gathered into *planes*, arrays of (plane, block, word) where each plane holds
one contiguous run of the output of every block. Bits are then cut out of whole planes, eight bytes in a 64-bit word
at once, and only the conversion to float32 goes back to the order of the output.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Floats = NDArray[np.float32]

_EACH_BYTE = 0x0101010101010101


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
    return np.ascontiguousarray(items.T).view(np.uint8).reshape(*items.T.shape, -1)


def bits(words: Words, start: int, count: int, out: Words | None = None) -> Words:
    """Bits `start` to `start + count` of every byte, as the lowest bits of that byte."""
    found = np.right_shift(words, np.uint64(start), out=out)
    return np.bitwise_and(found, np.uint64(_EACH_BYTE * ((1 << count) - 1)), out=found)


def split(words: Words, count: int) -> Words:
    """Cut each byte into fields of `count` bits, lowest first: each plane becomes 8 / `count` planes."""
    fields = 8 // count
    out = np.empty((len(words), fields, *words.shape[1:]), np.uint64)
    for field in range(fields):
        bits(words, field * count, count, out=out[:, field])
    return out.reshape(-1, *words.shape[1:])


def nibbles(words: Words) -> Words:
    """Cut each plane into one of all low halves of its bytes and one of all high ones."""
    return split(words, 4)


def fill(out: Floats, quants: Words, minus: int = 0) -> None:
    """Write planes of signed bytes, less `minus`, as the values of each block, one plane behind another."""
    signed = quants.view(np.int8)
    if minus:
        np.subtract(signed, np.int8(minus), out=signed)
    np.copyto(out, _transposed(signed.view(np.uint8)).view(np.int8).reshape(out.shape))


def scale(out: Floats, scales: Floats) -> None:
    """Multiply each part of each block by its scale (blocks, parts), in place."""
    np.multiply(out.reshape(-1), _spread(scales, out), out=out.reshape(-1))


def shift(out: Floats, offsets: Floats) -> None:
    """Add to each part of each block its offset (blocks, parts), in place."""
    np.add(out.reshape(-1), _spread(offsets, out), out=out.reshape(-1))


def lower(out: Floats, offsets: Floats) -> None:
    """Subtract from each part of each block its offset (blocks, parts), in place."""
    np.subtract(out.reshape(-1), _spread(offsets, out), out=out.reshape(-1))


def _spread(of_parts: Floats, out: Floats) -> Floats:
    return np.repeat(of_parts.reshape(-1), out.size // of_parts.size)


def pair_table(values: Sequence[int]) -> NDArray[np.complex64]:
    """A table from a byte to the two float32 values its halves stand for, the low half's first."""
    byte = np.arange(256)
    known = np.array(values, np.float32)
    return np.stack([known[byte & 0x0F], known[byte >> 4]], axis=-1).view(np.complex64).reshape(256)


def look_up(table: NDArray[np.complex64], packed: Bytes, out: Floats) -> None:
    """Write (…, n) bytes as (…, 2, n) values: all low halves, then all high ones. One look-up serves two values."""
    found = np.take(table, packed, mode="clip").view(np.float32).reshape(*packed.shape, 2)
    np.copyto(out[..., 0, :], found[..., 0])
    np.copyto(out[..., 1, :], found[..., 1])
