"""Keep blocks as the small integers and scales that they are made of, instead of turning them into values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from intermodal.api import Packing
from numpy.typing import NDArray

from intermodal_gguf import blocks as small
from intermodal_gguf import superblocks
from intermodal_gguf.dequantize import Fetch
from intermodal_gguf.planes import Bytes, Words, fill
from intermodal_gguf.types import StorageType

_AT_ONCE = 1 << 20  # bytes of blocks that are taken apart at a time

Arrays = Mapping[str, NDArray]
"""`weight`, `scale` and perhaps `minimum` of some blocks: (blocks, …) each."""


@dataclass(frozen=True)
class BlockPacking:
    """How blocks of one type are held, and the function that takes some of them apart into arrays."""

    packing: Packing
    take_apart: Callable[[Bytes, Arrays], None]


def pack_into(storage: StorageType, fetch: Fetch, out: Arrays) -> None:
    """Read a tensor, or whole blocks of one, in packed form.

    `integer * scale + minimum` in float32 is bit for bit what `dequantize_into` gives: each product is exact there, so
    that only the sum is rounded.

    Args:
        storage: a type of `PACKINGS`.
        fetch: gives the packed bytes.
        out: contiguous arrays for whole blocks, as `Packing.parts` has them.
    """
    first = out["weight"]
    columns = first.size * (2 if first.dtype == np.uint8 else 1)
    count = columns // storage.block
    parts = {field: array.reshape(count, -1) for field, array in out.items()}
    step = max(1, _AT_ONCE // storage.size)
    for start in range(0, count, step):
        packed = np.empty((min(step, count - start), storage.size), np.uint8)
        fetch(start * storage.size, packed)
        with np.errstate(all="ignore"):  # a damaged scale may be infinite or NaN; what follows from it is the answer
            PACKINGS[storage.name].take_apart(packed, {f: part[start : start + step] for f, part in parts.items()})


def _halves(packed: Bytes, start: int) -> NDArray[np.float16]:
    return packed[:, start : start + 2].view(np.float16)


def _q8_0(packed: Bytes, out: Arrays) -> None:
    out["weight"][:] = packed[:, 2:].view(np.int8)
    out["scale"][:] = _halves(packed, 0)


def _q4_0(packed: Bytes, out: Arrays) -> None:
    out["weight"][:] = packed[:, 2:]
    out["scale"][:] = _halves(packed, 0)


def _q4_1(packed: Bytes, out: Arrays) -> None:
    out["weight"][:] = packed[:, 4:]
    out["scale"][:] = _halves(packed, 0)
    out["minimum"][:] = _halves(packed, 2)


def _integers(quants: Words, out: Arrays, minus: int = 0) -> None:
    fill(out["weight"], quants, minus)


def _q5_0(packed: Bytes, out: Arrays) -> None:
    _integers(small.q5_0_quants(packed), out, minus=16)
    out["scale"][:] = _halves(packed, 0)


def _q5_1(packed: Bytes, out: Arrays) -> None:
    _integers(small.q5_1_quants(packed), out)
    out["scale"][:] = _halves(packed, 0)
    out["minimum"][:] = _halves(packed, 2)


def _k_scales(packed: Bytes, out: Arrays) -> None:
    scales, minima = superblocks.scales_and_minima(packed)
    out["scale"][:] = scales
    np.negative(minima, out=out["minimum"])


def _q4_k(packed: Bytes, out: Arrays) -> None:
    # 32 bytes hold one group in their low halves and the next in their high ones; each is to have 16 bytes of its own.
    runs = packed[:, 16:].reshape(-1, 4, 2, 16)
    head, tail = runs[:, :, 0], runs[:, :, 1]
    weight = out["weight"].reshape(-1, 4, 2, 16)
    weight[:, :, 0] = head & 0x0F | tail << 4
    weight[:, :, 1] = head >> 4 | tail & 0xF0
    _k_scales(packed, out)


def _q5_k(packed: Bytes, out: Arrays) -> None:
    _integers(superblocks.q5_k_quants(packed), out)
    _k_scales(packed, out)


def _q6_k(packed: Bytes, out: Arrays) -> None:
    _integers(superblocks.q6_k_quants(packed), out, minus=32)
    out["scale"][:] = superblocks.q6_k_scales(packed)


PACKINGS = MappingProxyType(
    {
        "Q8_0": BlockPacking(Packing(8, 32, scale_dtype="float16"), _q8_0),
        "Q4_0": BlockPacking(Packing(4, 32, scale_dtype="float16"), _q4_0),
        "Q4_1": BlockPacking(Packing(4, 32, minimum=True, scale_dtype="float16"), _q4_1),
        "Q4_K": BlockPacking(Packing(4, 32, minimum=True), _q4_k),
        "Q5_0": BlockPacking(Packing(8, 32, scale_dtype="float16"), _q5_0),
        "Q5_1": BlockPacking(Packing(8, 32, minimum=True, scale_dtype="float16"), _q5_1),
        "Q5_K": BlockPacking(Packing(8, 32, minimum=True), _q5_k),
        "Q6_K": BlockPacking(Packing(8, 16), _q6_k),
    }
)
"""The types that can be held packed: the commonest ones. 5 and 6 bits take 8, which still is a quarter of float32."""
