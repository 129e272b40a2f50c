"""Dequantise the types of 256 values a block: Q2_K to Q6_K, IQ4_XS, TQ1_0, TQ2_0. Same contract as `blocks`."""

import numpy as np
from numpy.typing import NDArray

from intermodal_gguf.blocks import NON_LINEAR
from intermodal_gguf.planes import Bytes, Floats, Words, bits, fill, half, look_up, lower, nibbles, planes, scale, split

_TWO_BITS = np.array([0, 2, 4, 6], np.uint8)[:, None]


def q2_k(blocks: Bytes, out: Floats) -> None:
    """16 parts: scale × 4-bit scale × 2 bits − minimum scale × 4-bit minimum."""
    packed = blocks[:, :16]
    fill(out, split(planes(blocks, 16, 80, 2), 2))
    scale(out, half(blocks, 80) * (packed & 0x0F).astype(np.float32))
    lower(out, half(blocks, 82) * (packed >> 4).astype(np.float32))


def q3_k(blocks: Bytes, out: Floats) -> None:
    """16 parts: scale × (6-bit scale − 32) × (2 bits − 4 where the third bit is clear)."""
    quants = split(planes(blocks, 32, 96, 2), 2)
    third = split(planes(blocks, 0, 32), 1)
    third <<= np.uint64(2)
    quants |= third
    fill(out, quants, minus=4)
    low = np.concatenate([blocks[:, 96:104] & 0x0F, blocks[:, 96:104] >> 4], axis=-1)
    high = (blocks[:, 104:108].reshape(-1, 1, 4) >> _TWO_BITS).reshape(-1, 16)
    scales = (low | (high & 3) << 4).view(np.int8) - np.int8(32)
    scale(out, half(blocks, 108) * scales.astype(np.float32))


def scales_and_minima(blocks: Bytes) -> tuple[Floats, Floats]:
    """The 8 scales and 8 minima of Q4_K and Q5_K: 6 bits each in 12 bytes, the last four of each in two pieces."""
    head = blocks[:, :16].copy()
    # Four bytes to a word: the same two bits of all four are cut out at once.
    first, second, third = head.view(np.uint32)[:, 1:].T
    six, four, two = np.uint32(0x3F3F3F3F), np.uint32(0x0F0F0F0F), np.uint32(0x30303030)
    scales = np.stack([first & six, (third & four) | (first >> 2 & two)], axis=-1)
    minima = np.stack([second & six, (third >> 4 & four) | (second >> 2 & two)], axis=-1)
    return half(head, 0) * scales.view(np.uint8), half(head, 2) * minima.view(np.uint8)


def q4_k(blocks: Bytes, out: Floats) -> None:
    """8 parts: scale × 6-bit scale × 4 bits − minimum scale × 6-bit minimum."""
    scales, minima = scales_and_minima(blocks)
    fill(out, nibbles(planes(blocks, 16, 144, 4)))
    scale(out, scales)
    lower(out, minima)


def q5_k(blocks: Bytes, out: Floats) -> None:
    """As Q4_K with a fifth bit for each value, in 32 bytes before the others."""
    scales, minima = scales_and_minima(blocks)
    fill(out, q5_k_quants(blocks))
    scale(out, scales)
    lower(out, minima)


def q5_k_quants(blocks: Bytes) -> Words:
    """Planes of Q5_K's 5 bits."""
    quants = nibbles(planes(blocks, 48, 176, 4))
    fifth = split(planes(blocks, 16, 48), 1)
    fifth <<= np.uint64(4)
    quants |= fifth
    return quants


def q6_k(blocks: Bytes, out: Floats) -> None:
    """16 parts: scale × signed byte × (6 bits − 32)."""
    fill(out, q6_k_quants(blocks), minus=32)
    scale(out, q6_k_scales(blocks))


def q6_k_scales(blocks: Bytes) -> Floats:
    """Scale × signed byte of each part."""
    return half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)


def q6_k_quants(blocks: Bytes) -> Words:
    """Planes of Q6_K's 6 bits; 4 low bits and 2 high ones lie apart."""
    low = planes(blocks, 0, 128, 4)
    quants = split(planes(blocks, 128, 192, 2), 2)
    quants <<= np.uint64(4)
    for first in (0, 4):
        pair = low[first // 2 : first // 2 + 2]
        quants[first : first + 2] |= bits(pair, 0, 4)
        quants[first + 2 : first + 4] |= bits(pair, 4, 4)
    return quants


def iq4_xs(blocks: Bytes, out: Floats) -> None:
    """8 parts: scale × (6-bit scale − 32) × one of 16 unevenly spaced values."""
    high = blocks[:, 2:4].copy().view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16)
    low = (blocks[:, 4:8, None] >> np.array([0, 4], np.uint8)).reshape(-1, 8) & 0x0F
    scales = (low | (high & 3).astype(np.uint8) << 4).view(np.int8) - np.int8(32)
    look_up(NON_LINEAR, blocks[:, 8:].reshape(-1, 8, 16), out.reshape(-1, 8, 2, 16))
    scale(out, half(blocks, 0) * scales.astype(np.float32))


def _trits(packed: Bytes, count: int) -> NDArray[np.int8]:
    """Unpack `count` base-3 digits of each byte, highest first, minus 1: (blocks, n) → (blocks, count × n)."""
    shifted = packed[:, None, :] * (3 ** np.arange(count)).astype(np.uint8)[:, None]
    digits = (shifted.astype(np.uint16) * 3 >> 8).astype(np.int8) - np.int8(1)
    return digits.reshape(len(packed), -1)


def tq1_0(blocks: Bytes, out: Floats) -> None:
    """Scale × −1, 0 or 1; five values a byte in base 3."""
    np.copyto(out[:, :160], _trits(blocks[:, :32], 5))
    np.copyto(out[:, 160:240], _trits(blocks[:, 32:48], 5))
    np.copyto(out[:, 240:], _trits(blocks[:, 48:52], 4))
    scale(out, half(blocks, 52))


def tq2_0(blocks: Bytes, out: Floats) -> None:
    """Scale × −1, 0 or 1; four values a byte."""
    quants: Words = split(planes(blocks, 0, 64, 2), 2)
    fill(out, quants, minus=1)
    scale(out, half(blocks, 64))
