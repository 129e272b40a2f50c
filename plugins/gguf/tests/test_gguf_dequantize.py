"""Every storage type against the gguf package's own dequantisers, bit for bit."""

import subprocess
import sys
import tracemalloc

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from intermodal_gguf import dequantize
from intermodal_gguf.types import STORAGE_TYPES, UNREADABLE

PACKED = {storage.name: storage for storage in STORAGE_TYPES.values() if storage.packed}
QUANTIZABLE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4")
# float16: the largest, the smallest normal and subnormal, zeros, infinities, not a number
EXTREME = np.array([0x7BFF, 0xFBFF, 0x0400, 0x0001, 0x8001, 0x0000, 0x8000, 0x7C00, 0xFC00, 0x7E00], np.uint16)


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def way(request, monkeypatch):
    """Every test with numpy and, where they are installed, with compiled kernels."""
    if request.param == "numpy":
        monkeypatch.setattr(dequantize, "compiled_writer", lambda storage, dtype: None)
    elif dequantize.compiled.for_cpu("gguf") is None:
        pytest.skip("no compiled kernels are installed (intermodal-native)")
    return request.param


def reference(rows: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(rows, GGMLQuantizationType[name])


def dequantized(rows: np.ndarray, name: str, dtype=np.float32) -> np.ndarray:
    storage = PACKED[name]
    out = np.full(rows.size // storage.size * storage.block, 7, dtype)
    dequantize.dequantize_into(storage, fetch_from(rows), out)
    return out


def fetch_from(rows: np.ndarray) -> dequantize.Fetch:
    packed = rows.reshape(-1)
    return lambda start, target: np.copyto(target, packed[start : start + target.size].reshape(target.shape))


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    # Which of the many patterns of "not a number" comes out depends on the processor.
    np.testing.assert_array_equal(ours[~nan].view(np.uint32), theirs[~nan].view(np.uint32))


def test_the_table_of_types_is_the_one_of_the_gguf_package():
    ours = {storage.name: (number, storage.block, storage.size) for number, storage in STORAGE_TYPES.items()}
    theirs = {kind.name: (kind.value, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    refused = {name: number for number, (name, _) in UNREADABLE.items()}
    assert ours == {name: entry for name, entry in theirs.items() if name in ours}
    missing = set(theirs) - set(ours)
    assert missing == {name for name in refused if name in theirs}
    assert all(theirs[name][0] == refused[name] for name in missing)
    for name in missing:
        with pytest.raises(NotImplementedError):
            reference(np.zeros((1, theirs[name][2]), np.uint8), name)


@pytest.mark.parametrize("name", PACKED)
def test_any_bytes_give_the_bits_of_the_reference(name):
    storage = PACKED[name]
    rows = np.random.default_rng(sum(name.encode())).integers(0, 256, (24, 4 * storage.size), np.uint8)
    assert_same_bits(dequantized(rows, name), reference(rows, name))


@pytest.mark.parametrize("name", PACKED)
def test_extreme_scales_give_the_bits_of_the_reference(name):
    storage = PACKED[name]
    rng = np.random.default_rng(sum(name.encode()))
    # Wherever a type keeps its scales, some of these blocks have an extreme one there.
    blocks = np.repeat(rng.integers(0, 256, (1, storage.size), np.uint8), storage.size * len(EXTREME), axis=0)
    for index, block in enumerate(blocks):
        start = min(index // len(EXTREME), storage.size - 2)
        block[start : start + 2] = EXTREME[index % len(EXTREME), None].view(np.uint8)
    assert_same_bits(dequantized(blocks, name), reference(blocks, name))


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_what_the_gguf_package_quantises_comes_back(name):
    values = np.random.default_rng(1).normal(size=(16, 512)).astype(np.float32)
    if name.startswith("TQ"):
        values = np.sign(values)  # what the ternary types are for
    rows = gguf.quants.quantize(values, GGMLQuantizationType[name])
    ours = dequantized(rows, name)
    assert_same_bits(ours, reference(rows, name))
    assert np.corrcoef(ours, values.reshape(-1))[0, 1] > 0.99


@pytest.mark.parametrize("name", ["Q4_1", "Q6_K", "IQ3_S"])
@pytest.mark.parametrize("chunk", [1, 1 << 12, 1 << 20])
def test_chunks_and_threads_change_nothing(monkeypatch, name, chunk):
    monkeypatch.setattr(dequantize, "CHUNK", chunk)
    monkeypatch.setattr(dequantize, "COMPILED_CHUNK", chunk)
    storage = PACKED[name]
    count = 40_000 // storage.block + 1
    rows = np.random.default_rng(2).integers(0, 256, (count, storage.size), np.uint8)
    assert_same_bits(dequantized(rows, name), reference(rows, name))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_dtypes_get_the_rounded_values(dtype):
    rows = np.random.default_rng(3).integers(0, 64, (4, PACKED["Q4_K"].size), np.uint8)
    ours = dequantized(rows, "Q4_K", dtype)
    np.testing.assert_array_equal(ours, reference(rows, "Q4_K").reshape(-1).astype(dtype))


def test_scratch_memory_does_not_grow_with_the_tensor():
    storage = PACKED["Q4_K"]
    rows = np.zeros((1 << 16, storage.size), np.uint8)
    out = np.empty(len(rows) * storage.block, np.float32)
    dequantize.dequantize_into(storage, fetch_from(rows[:1]), out[: storage.block])
    tracemalloc.start()
    dequantize.dequantize_into(storage, fetch_from(rows), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < out.nbytes / 2


WITHOUT_BOOKS = """
import sys
import numpy as np
from intermodal_gguf.dequantize import dequantize_into
from intermodal_gguf.types import STORAGE_TYPES

for storage in STORAGE_TYPES.values():
    if storage.packed and not storage.name.startswith(("IQ1", "IQ2", "IQ3")):
        out = np.ones(4 * storage.block, np.float32)
        dequantize_into(storage, lambda offset, packed: packed.fill(0), out)
print(*sys.modules)
"""


def test_types_without_code_books_do_not_import_the_gguf_package():
    """It brings pydantic, sentencepiece and others, which take 40 MB."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_BOOKS], capture_output=True, text=True, check=True)
    assert not {"gguf", "pydantic", "sentencepiece"} & set(done.stdout.split())
