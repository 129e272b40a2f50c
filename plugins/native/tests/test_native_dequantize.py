"""Values of packed blocks from the compiled library, on each set of instructions, against the gguf package's own."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from intermodal_native import for_gguf
from intermodal_native.library import INSTRUCTIONS, library

PLAIN = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"),
)
WITH_BOOK = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")


@pytest.fixture(params=INSTRUCTIONS, autouse=True)
def instructions(request):
    """One set of instructions after the other."""
    if not library().native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield
    library().native_use_path(library().native_best_path())


def book_of(name):
    if name not in WITH_BOOK:
        return None
    kind = getattr(gguf.quants, "IQ1_S" if name == "IQ1_M" else name)
    kind.init_grid()
    return np.ascontiguousarray(kind.grid.reshape(kind.grid_shape), np.int8)


def values_of(packed, name, dtype="float32"):
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    out = np.full(packed.size // size * block, 7, getattr(ml_dtypes, dtype, dtype))
    for_gguf.dequantize(GGMLQuantizationType[name].value, packed, book_of(name), out)
    return out


def bits(values):
    """The bits, with one pattern for all that are not a number."""
    return np.where(np.isnan(values), np.ones_like(values) * np.nan, values).view(f"u{values.itemsize}")


@pytest.mark.parametrize("dtype", for_gguf.TARGETS)
@pytest.mark.parametrize("name", PLAIN + WITH_BOOK)
def test_any_bytes_give_the_bits_of_the_gguf_package(name, dtype):
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    packed = np.random.default_rng(sum(name.encode())).integers(0, 256, (96, size), np.uint8)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(packed, GGMLQuantizationType[name]).reshape(-1)
        expected = theirs.astype(getattr(ml_dtypes, dtype, dtype))
    np.testing.assert_array_equal(bits(values_of(packed, name, dtype)), bits(expected))


@pytest.mark.parametrize("dtype", for_gguf.TARGETS)
def test_every_float16_scale_becomes_what_numpy_makes_of_it(dtype):
    scales = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    quants = np.tile(np.array([1, -1, 3, 127, -128, 0, 100, 77], np.int8), 4)
    packed = np.concatenate([scales[:, None].view(np.uint8), np.tile(quants, (1 << 16, 1)).view(np.uint8)], axis=1)
    with np.errstate(all="ignore"):
        wide = scales.astype(np.float32)[:, None] * quants.astype(np.float32)
        expected = wide.reshape(-1).astype(getattr(ml_dtypes, dtype, dtype))
    np.testing.assert_array_equal(bits(values_of(packed, "Q8_0", dtype)), bits(expected))


@pytest.mark.parametrize(
    ("kind", "nbytes", "count", "dtype", "book"),
    [
        (GGMLQuantizationType.Q8_0, 33, 32, "float32", None),
        (GGMLQuantizationType.Q8_0, 34, 64, "float32", None),
        (GGMLQuantizationType.Q8_0, 34, 32, "float64", None),
        (GGMLQuantizationType.IQ2_S, 82, 256, "float32", None),
        (GGMLQuantizationType.IQ2_S, 82, 256, "float32", (512, 8)),
        (GGMLQuantizationType.F32, 128, 32, "float32", None),
    ],
)
def test_sizes_that_do_not_go_together_are_refused_and_nothing_is_written(kind, nbytes, count, dtype, book):
    out = np.full(count, 7, dtype)
    with pytest.raises(ValueError, match=f"type {kind.value}"):
        for_gguf.dequantize(
            kind.value, np.zeros(nbytes, np.uint8), None if book is None else np.zeros(book, np.int8), out
        )
    assert (out == 7).all()
