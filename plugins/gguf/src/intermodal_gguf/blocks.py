"""Dequantise the types of 32 and 64 values a block: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4, NVFP4.

Each function turns `blocks` (uint8, block count × bytes of a block) into `out` (float32, block count × values of a
block) with the arithmetic of llama.cpp's ggml-quants.c in the same order, so that results agree bit for bit.
"""

import numpy as np

from intermodal_gguf.planes import (
    Bytes,
    Floats,
    Words,
    fill,
    half,
    look_up,
    nibbles,
    pair_table,
    planes,
    scale,
    shift,
)

# From a byte to eight bytes of 0 or 16, one for each of its bits, the lowest first.
_FIFTHS = np.left_shift(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 4)
_FIFTHS_OF_BYTE = _FIFTHS.view(np.uint64).reshape(256)


def _fifth_bits(blocks: Bytes, start: int) -> Words:
    """Spread the 4 bytes at `start` of each block over two planes of 16 bytes that hold 0 or 16."""
    packed = np.ascontiguousarray(blocks[:, start : start + 4].view(np.uint16).T).view(np.uint8)
    return np.take(_FIFTHS_OF_BYTE, packed.reshape(2, -1, 2), mode="clip")


def q4_0(blocks: Bytes, out: Floats) -> None:
    """Scale × (4 bits − 8)."""
    fill(out, nibbles(planes(blocks, 2, 18)), minus=8)
    scale(out, half(blocks, 0))


def q4_1(blocks: Bytes, out: Floats) -> None:
    """Scale × 4 bits + minimum."""
    fill(out, nibbles(planes(blocks, 4, 20)))
    scale(out, half(blocks, 0))
    shift(out, half(blocks, 2))


def q5_0(blocks: Bytes, out: Floats) -> None:
    """Scale × (5 bits − 16); the fifth bits of a block lie together in 4 bytes."""
    fill(out, q5_0_quants(blocks), minus=16)
    scale(out, half(blocks, 0))


def q5_1(blocks: Bytes, out: Floats) -> None:
    """Scale × 5 bits + minimum."""
    fill(out, q5_1_quants(blocks))
    scale(out, half(blocks, 0))
    shift(out, half(blocks, 2))


def q5_0_quants(blocks: Bytes) -> Words:
    """Planes of Q5_0's 5 bits."""
    quants = nibbles(planes(blocks, 6, 22))
    quants |= _fifth_bits(blocks, 2)
    return quants


def q5_1_quants(blocks: Bytes) -> Words:
    """Planes of Q5_1's 5 bits."""
    quants = nibbles(planes(blocks, 8, 24))
    quants |= _fifth_bits(blocks, 4)
    return quants


def q8_0(blocks: Bytes, out: Floats) -> None:
    """Scale × signed byte."""
    np.copyto(out, blocks[:, 2:].view(np.int8))
    scale(out, half(blocks, 0))


NON_LINEAR = pair_table([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
"""What the 4 bits of IQ4_NL and IQ4_XS stand for (kvalues_iq4nl)."""

_E2M1_DOUBLED = pair_table([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
_BYTE = np.arange(256, dtype=np.uint32)
_E8M0_HALVED = np.where(_BYTE < 2, np.uint32(0x00200000) << _BYTE, (_BYTE - 1) << 23).astype(np.uint32).view(np.float32)


def _unsigned_e4m3_halved() -> Floats:
    exponent, mantissa = _BYTE >> 3 & 0xF, (_BYTE & 7).astype(np.float64)
    values = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent.astype(np.float64) - 7))
    values[[0, 0x7F]] = 0
    return (values / 2).astype(np.float32)


_E4M3_HALVED = _unsigned_e4m3_halved()


def iq4_nl(blocks: Bytes, out: Floats) -> None:
    """Scale × one of 16 unevenly spaced values."""
    look_up(NON_LINEAR, blocks[:, 2:], out.reshape(-1, 2, 16))
    scale(out, half(blocks, 0))


def mxfp4(blocks: Bytes, out: Floats) -> None:
    """Power of two (e8m0) × e2m1, halved because the table holds doubled values."""
    look_up(_E2M1_DOUBLED, blocks[:, 1:], out.reshape(-1, 2, 16))
    scale(out, _E8M0_HALVED[blocks[:, :1]])


def nvfp4(blocks: Bytes, out: Floats) -> None:
    """Four groups of 16 values, each e4m3 × e2m1."""
    look_up(_E2M1_DOUBLED, blocks[:, 4:].reshape(-1, 4, 8), out.reshape(-1, 4, 2, 8))
    scale(out, _E4M3_HALVED[blocks[:, :4]])
