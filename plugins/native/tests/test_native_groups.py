"""Products of weights in groups, on each set of instructions, against numpy; and the same through JAX and PyTorch."""

import ctypes
from typing import NamedTuple

import numpy as np
import pytest
from intermodal_native.library import DTYPES, INSTRUCTIONS, STORED, Matrix, library

random = np.random.default_rng(8)


class Weight(NamedTuple):
    """Stored integers, with what belongs to them, and the float64 values that they stand for."""

    stored: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None
    values: np.ndarray


def weight(kind, n, groups):
    """A random weight (n, groups of columns) of a kind: bits, columns of a group, dtype of scales, with a minimum."""
    bits, width, dtype, least = kind
    integers = random.integers(*((-128, 128) if bits == 8 else (0, 16)), (n, groups, width))
    scale = random.standard_normal((n, groups)).astype(dtype)
    minimum = random.standard_normal((n, groups)).astype(dtype) if least else None
    centred = integers - (8 if bits == 4 and not least else 0)
    values = centred * scale[..., None].astype("float64")
    values = values if minimum is None else values + minimum[..., None].astype("float64")
    stored = integers.astype("int8") if bits == 8 else (integers[..., :16] | integers[..., 16:] << 4).astype("uint8")
    return Weight(stored.reshape(n, -1), scale, minimum, values.reshape(n, -1))


KINDS = {
    "Q8_0": (8, 32, "float16", False),
    "Q4_0": (4, 32, "float16", False),
    "Q4_1": (4, 32, "float16", True),
    "Q4_K": (4, 32, "float32", True),
    "Q6_K": (8, 16, "float32", False),
    "Q5_K": (8, 32, "float32", True),
    "Q2_K": (8, 16, "float32", True),
}


@pytest.fixture(params=INSTRUCTIONS)
def native(request):
    """The library, made to use one set of instructions after the other."""
    loaded = library()
    if not loaded.native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield loaded
    loaded.native_use_path(loaded.native_best_path())


def check(y, x, w):
    """Within the bound of any order of summation: k roundings of the sum of magnitudes, and one of each value."""
    bound = (x.shape[-1] + 4) * 2.0**-24 * (np.abs(x.astype("float64")) @ np.abs(w.values).T)
    assert (np.abs(np.asarray(y) - x.astype("float64") @ w.values.T) <= bound).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 2, 7, 40, 96, 103])
@pytest.mark.parametrize(("n", "groups"), [(1, 1), (37, 6), (65, 131)])
def test_a_product_is_numpy_s(native, kind, m, n, groups):
    w, other = weight(KINDS[kind], n, groups), random.standard_normal((5, groups * KINDS[kind][1])).astype("float32")
    x = random.standard_normal((m, w.values.shape[1])).astype("float32")
    matrices, y = (Matrix * 2)(), np.full((m, n), np.nan, np.float32)
    first, second = matrices[0], matrices[1]
    first.data, first.scale, first.dtype = w.stored.ctypes.data, w.scale.ctypes.data, STORED[str(w.stored.dtype)]
    first.minimum = None if w.minimum is None else w.minimum.ctypes.data
    (first.rows, first.groups), first.columns, first.scale_dtype = w.scale.shape, x.shape[1], DTYPES[str(w.scale.dtype)]
    second.data, (second.rows, second.columns) = other.ctypes.data, other.shape
    plain = np.full((m, 5), np.nan, np.float32)
    native.native_product(x.ctypes.data, m, matrices, 2, (ctypes.c_void_p * 2)(y.ctypes.data, plain.ctypes.data), None)
    check(y, x, w)
    np.testing.assert_allclose(plain, x @ other.T, atol=1e-3)


def bundle_of(w, tensor):
    from intermodal.kernels import Bundle

    return Bundle(tensor(w.stored), scale=tensor(w.scale), minimum=None if w.minimum is None else tensor(w.minimum))


@pytest.mark.parametrize("rows", [1, 5, 120])
@pytest.mark.parametrize("kind", KINDS)
def test_linears_on_jax_are_numpy_s_and_one_call(kind, rows):
    jax = pytest.importorskip("jax")
    from intermodal import kernels
    from intermodal_native import for_jax

    one, other = weight(KINDS[kind], 24, 3), weight(KINDS[kind], 9, 3)
    x = random.standard_normal((rows, one.values.shape[1])).astype("float32")
    bundles = bundle_of(one, jax.numpy.asarray), bundle_of(other, jax.numpy.asarray)
    for y, w in zip(jax.jit(kernels.linears)(x, *bundles), (one, other), strict=True):
        check(y, x, w)
    text = jax.jit(kernels.linears).lower(x, *bundles).compile().as_text()
    assert text.count(f'custom_call_target="{for_jax.PRODUCT}"') == 1
    gradient = jax.grad(lambda x: kernels.linears(x, *bundles)[0].sum())(x)
    np.testing.assert_allclose(gradient, np.broadcast_to(one.values.sum(0), x.shape), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_products_on_torch_are_numpy_s(kind):
    torch = pytest.importorskip("torch")
    from intermodal_native import for_torch

    w = weight(KINDS[kind], 24, 3)
    x = random.standard_normal((3, w.values.shape[1])).astype("float32")
    minimum = None if w.minimum is None else torch.from_numpy(w.minimum)
    prepared = for_torch.prepare(torch.from_numpy(w.stored), torch.from_numpy(w.scale), minimum)
    with torch.inference_mode():
        (y,) = for_torch.linears(torch.from_numpy(x), [bundle_of(w, torch.from_numpy)], [prepared])
    check(y.numpy(), x, w)


def test_what_does_not_go_together_is_left_to_torch():
    torch = pytest.importorskip("torch")
    from intermodal_native.for_torch import prepare

    packed, scale = torch.zeros(4, 32, dtype=torch.uint8), torch.ones(4, 2)
    assert prepare(packed, scale)
    for one, other in ((scale[:, :1], None), (scale.double(), None), (scale, scale.half()), (None, None)):
        assert prepare(packed, None if one is None else one.contiguous(), other) is None
