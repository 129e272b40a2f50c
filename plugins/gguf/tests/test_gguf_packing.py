"""Blocks that are kept packed stand for the values of the gguf package, bit for bit."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from intermodal.weights.packing import widened
from intermodal_gguf import packing
from intermodal_gguf.packing import PACKINGS, pack_into
from intermodal_gguf.types import STORAGE_TYPES

TYPES = {storage.name: storage for storage in STORAGE_TYPES.values() if storage.name in PACKINGS}


def blocks_of(name, rows, columns):
    """Any bytes, but for scales that are no number."""
    storage = TYPES[name]
    shape = 4 * rows, columns // storage.block, storage.size
    found = np.random.default_rng(sum(name.encode())).integers(0, 256, shape, np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(found, GGMLQuantizationType[name])
    return found[np.isfinite(values).reshape(len(found), -1).all(-1)][:rows]


@pytest.mark.parametrize("name", TYPES)
def test_packed_blocks_have_the_bits_of_the_gguf_package(name, monkeypatch):
    monkeypatch.setattr(packing, "_AT_ONCE", 1000)  # several pieces
    columns = max(64, TYPES[name].block)
    blocks = blocks_of(name, 12, columns)
    arrays, flat = PACKINGS[name].packing.empty((12, columns)), blocks.reshape(-1)
    pack_into(TYPES[name], lambda start, out: np.copyto(out, flat[start : start + out.size].reshape(out.shape)), arrays)
    expected = gguf.quants.dequantize(blocks, GGMLQuantizationType[name]).reshape(12, columns)
    np.testing.assert_array_equal(widened(arrays).view(np.uint32), expected.view(np.uint32))


def test_a_checkpoint_gives_matrices_packed_and_nothing_else(write_gguf, open_gguf):
    values = np.random.default_rng(1).normal(size=(6, 64)).astype(np.float32)
    tensors = {
        name: (gguf.quants.quantize(values, GGMLQuantizationType[kind]), GGMLQuantizationType[kind])
        for name, kind in (("eight", "Q8_0"), ("four", "Q4_1"))
    }
    checkpoint = open_gguf(write_gguf({**tensors, "wide": values}))
    for name in ("eight", "four"):
        held = checkpoint.packing(name)
        arrays = held.empty((6, 64))
        checkpoint.read_packed(name, arrays)
        np.testing.assert_array_equal(widened(arrays), checkpoint.read(name))
        assert held.nbytes((6, 64)) == checkpoint.tensors[name].nbytes  # not a byte more than in the file
    assert checkpoint.packing("wide") is None
