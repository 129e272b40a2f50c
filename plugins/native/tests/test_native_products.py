"""Products of the compiled library against numpy's in float64."""

import ctypes

import ml_dtypes
import numpy as np
import pytest
from intermodal_native.library import DTYPES, INSTRUCTIONS, Matrix, library

random = np.random.default_rng(5)


@pytest.fixture(params=INSTRUCTIONS)
def native(request):
    """The library, made to use one set of instructions after the other."""
    loaded = library()
    if not loaded.native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield loaded
    loaded.native_use_path(loaded.native_best_path())


def product(native, x, weights, scales=None):
    """x (m, k) times the transpose of each weight."""
    scales = scales or [None] * len(weights)
    matrices = (Matrix * len(weights))()
    outputs = [np.full((len(x), len(weight)), np.nan, np.float32) for weight in weights]
    for matrix, weight, scale in zip(matrices, weights, scales, strict=True):
        matrix.data, matrix.scale = weight.ctypes.data, None if scale is None else scale.ctypes.data
        (matrix.rows, matrix.columns), matrix.dtype = weight.shape, DTYPES[str(weight.dtype)]
    pointers = (ctypes.c_void_p * len(weights))(*(output.ctypes.data for output in outputs))
    native.native_product(x.ctypes.data, len(x), matrices, len(weights), pointers, None)
    return outputs


def stored(values, dtype):
    return np.rint(values * 40).astype("int8") if dtype == "int8" else values.astype(getattr(ml_dtypes, dtype, dtype))


def check(native, x, weights, scales=None):
    """Each output within the bound of any order of summation: k roundings of the sum of magnitudes."""
    outputs = product(native, x, weights, scales)
    for y, weight, scale in zip(outputs, weights, scales or [None] * len(weights), strict=True):
        wide = weight.astype("float64") * (1 if scale is None else scale.astype("float64")[:, None])
        bound = (x.shape[1] + 2) * 2.0**-24 * (np.abs(x.astype("float64")) @ np.abs(wide).T)
        assert (np.abs(y - x.astype("float64") @ wide.T) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 2, 3, 5, 6, 7, 13, 19, 20, 33, 49, 96, 107])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 15), (64, 64), (37, 203), (101, 1030)])
def test_a_product_is_numpy_s(native, dtype, m, n, k):
    x = random.standard_normal((m, k)).astype("float32")
    check(native, x, [stored(random.standard_normal((n, k)), dtype)])


@pytest.mark.parametrize(
    ("dtype", "m", "n", "k"),
    [*((dtype, 33, 50, 4133) for dtype in DTYPES), ("float32", 400, 20, 6000), ("bfloat16", 500, 97, 40)],
)
def test_what_is_computed_in_several_parts_is_added_up(native, dtype, m, n, k):
    """More columns than are widened at a time, and more rows than one thread multiplies or are rearranged at a time."""
    weights = [stored(random.standard_normal((rows, k)), dtype) for rows in (n, 8)]
    check(native, random.standard_normal((m, k)).astype("float32"), weights, [np.full(n, 0.5, "float32"), None])
