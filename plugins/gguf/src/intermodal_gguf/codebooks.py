"""Dequantise the types whose values stand in code books: IQ1, IQ2 and IQ3. Same contract as `blocks`.

A look-up gives eight values at once, as signed bytes in a 64-bit word; their signs are then flipped byte by byte. The
code books themselves are the gguf package's, so that they are kept in one place only.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from intermodal_gguf.planes import Bytes, Floats, Words, empty, half, scale

# From a byte to eight bytes of 0 or 255, one for each of its bits, the lowest first.
_FLIPS = (np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * 255).view(np.uint64)[:, 0]
_EIGHTS = 8.0  # IQ1 adds ±1/8 to its values: in eighths they are whole numbers


@cache
def _book(name: str) -> NDArray[np.unsignedinteger]:
    """A type's code book: one word of signed bytes for each code."""
    import gguf.quants

    return _words(_grid(getattr(gguf.quants, name)).astype(np.int8))


@cache
def signed_bytes(name: str) -> NDArray[np.int8] | None:
    """A type's code book as compiled kernels take it, (codes, 4 or 8); None for a type without one."""
    if not name.startswith(("IQ1", "IQ2", "IQ3")):
        return None  # without the gguf package, which brings 40 MB of others with it

    import gguf.quants

    kind = getattr(gguf.quants, "IQ1_S" if name == "IQ1_M" else name)
    return np.ascontiguousarray(_grid(kind), np.int8)


@cache
def _book_in_eighths() -> Words:
    """IQ1's code book with 1/8 added, and behind it with 1/8 taken off."""
    import gguf.quants

    grid = _grid(gguf.quants.IQ1_S) * _EIGHTS
    return _words(np.concatenate([grid + 1, grid - 1]).astype(np.int8))


@cache
def _even_signs() -> Words:
    """From 7 sign bits to eight bytes of 0 or 255; the eighth sign makes their number even."""
    import gguf.quants

    return _FLIPS[np.frombuffer(gguf.quants.IQ2_XXS.ksigns, np.uint8)]


def _grid(kind: type) -> Floats:
    kind.init_grid()  # pyright: ignore[reportAttributeAccessIssue]
    return kind.grid.reshape(kind.grid_shape)  # pyright: ignore[reportAttributeAccessIssue]


def _words(values: NDArray[np.int8]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(values).view(np.dtype(f"u{values.shape[1]}"))[:, 0]


def _look_up(book: NDArray[np.unsignedinteger], codes: NDArray[np.unsignedinteger]) -> Words:
    found = empty(codes.shape, book.dtype)
    np.take(book, codes, mode="clip", out=found)
    return found.view(np.uint64)


def _write(out: Floats, values: Words, flips: Words | None, scales: Floats) -> None:
    """Eights of signed bytes, negated where `flips` says so, times the scales of each block's parts."""
    if flips is not None:
        np.bitwise_xor(values, flips, out=values)
        np.subtract(values.view(np.int8), flips.view(np.int8), out=values.view(np.int8))
    np.copyto(out, values.view(np.int8).reshape(out.shape))
    scale(out, scales)


def _fields(packed: NDArray[np.unsignedinteger], width: int, step: int, count: int) -> NDArray[np.unsignedinteger]:
    """`count` fields of `width` bits, `step` bits apart, of each number: (n, m) → (n, m × count)."""
    kind = packed.dtype.type
    shifts = (np.arange(count) * step).astype(kind)
    return (packed[..., None] >> shifts & kind((1 << width) - 1)).reshape(len(packed), -1)


def _with_high(low: Bytes, high: NDArray[np.unsignedinteger]) -> NDArray[np.uint16]:
    return low | high.astype(np.uint16) << np.uint16(8)


def _quarters(scales: NDArray[np.unsignedinteger]) -> Floats:
    return np.float32(0.5) + scales.astype(np.float32)


def iq2_xxs(blocks: Bytes, out: Floats) -> None:
    """8 parts: 4 codes of a byte, then 28 bits of signs and a 4-bit scale."""
    pairs = blocks[:, 2:].copy().view(np.uint32).reshape(len(blocks), 8, 2)
    codes = np.ascontiguousarray(pairs[..., 0]).view(np.uint8)
    signs = _fields(pairs[..., 1], 7, 7, 4)
    scales = half(blocks, 0) * _quarters(pairs[..., 1] >> np.uint32(28)) * np.float32(0.25)
    _write(out, _look_up(_book("IQ2_XXS"), codes), _look_up(_even_signs(), signs), scales)


def iq2_xs(blocks: Bytes, out: Floats) -> None:
    """16 parts: 2 codes of 9 bits with 7 bits of signs, and a 4-bit scale."""
    codes = blocks[:, 2:66].copy().view(np.uint16)
    scales = half(blocks, 0) * _quarters(_fields(blocks[:, 66:], 4, 4, 2)) * np.float32(0.25)
    flips = _look_up(_even_signs(), codes >> np.uint16(9))
    _write(out, _look_up(_book("IQ2_XS"), codes & np.uint16(511)), flips, scales)


def iq2_s(blocks: Bytes, out: Floats) -> None:
    """16 parts: 2 codes of 10 bits, 16 signs, and a 4-bit scale."""
    codes = _with_high(blocks[:, 2:34], _fields(blocks[:, 66:74], 2, 2, 4))
    scales = half(blocks, 0) * _quarters(_fields(blocks[:, 74:], 4, 4, 2)) * np.float32(0.25)
    _write(out, _look_up(_book("IQ2_S"), codes), _look_up(_FLIPS, blocks[:, 34:66]), scales)


def iq3_xxs(blocks: Bytes, out: Floats) -> None:
    """8 parts: 8 codes of a byte for four values each, then 28 bits of signs and a 4-bit scale."""
    last = blocks[:, 66:].copy().view(np.uint32)
    scales = half(blocks, 0) * _quarters(last >> np.uint32(28)) * np.float32(0.5)
    _write(out, _look_up(_book("IQ3_XXS"), blocks[:, 2:66]), _look_up(_even_signs(), _fields(last, 7, 7, 4)), scales)


def iq3_s(blocks: Bytes, out: Floats) -> None:
    """8 parts: 8 codes of 9 bits for four values each, 32 signs, and a 4-bit scale."""
    codes = _with_high(blocks[:, 2:66], _fields(blocks[:, 66:74], 1, 1, 8))
    scales = half(blocks, 0) * (1 + 2 * _fields(blocks[:, 106:], 4, 4, 2)).astype(np.float32)
    _write(out, _look_up(_book("IQ3_S"), codes), _look_up(_FLIPS, blocks[:, 74:106]), scales)


def iq1_s(blocks: Bytes, out: Floats) -> None:
    """8 parts: 4 codes of 11 bits for −1, 0 and 1, a 3-bit scale, and the sign of the eighth that is added."""
    high = blocks[:, 34:].copy().view(np.uint16)
    codes = _with_high(blocks[:, 2:34], _fields(high, 3, 3, 4))
    codes += np.repeat(high >> np.uint16(15) << np.uint16(11), 4, axis=1)
    scales = half(blocks, 0) * (2 * (high >> np.uint16(12) & np.uint16(7)) + 1).astype(np.float32)
    _write(out, _look_up(_book_in_eighths(), codes), None, scales / np.float32(_EIGHTS))


def iq1_m(blocks: Bytes, out: Floats) -> None:
    """16 parts of 2 codes, as IQ1_S with a sign for each code; the block's scale is spread over four numbers."""
    packed = blocks[:, 48:].copy().view(np.uint16)
    nibbles = packed >> np.uint16(12) << np.array([0, 4, 8, 12], np.uint16)
    whole = np.bitwise_or.reduce(nibbles, axis=1, keepdims=True).view(np.float16).astype(np.float32)
    high = _fields(blocks[:, 32:48], 4, 4, 2)  # three bits of the code, and the sign of its eighth: 8 → 2048
    codes = _with_high(blocks[:, :32], high)
    scales = whole * (2 * _fields(packed, 3, 3, 4) + 1).astype(np.float32)
    _write(out, _look_up(_book_in_eighths(), codes), None, scales / np.float32(_EIGHTS))
