"""What is computed around products, in C: against numpy's and scipy's in float64."""

import ctypes

import numpy as np
import pytest
from intermodal_native.library import ACTIVATIONS, DTYPES, FLOATS, INSTRUCTIONS, Around, Matrix, library

random = np.random.default_rng(8)


@pytest.fixture(params=INSTRUCTIONS)
def native(request):
    """The library, made to use one set of instructions after the other."""
    loaded = library()
    if not loaded.native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield loaded
    loaded.native_use_path(loaded.native_best_path())


def exact(activation, x):
    """An activation in float64."""
    special = pytest.importorskip("scipy.special")
    with np.errstate(over="ignore"):
        return {
            None: lambda: x,
            "silu": lambda: x * special.expit(x),
            "gelu": lambda: x * special.ndtr(x),
            "gelu_pytorch_tanh": lambda: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
            "relu": lambda: np.maximum(x, 0),
        }[activation]()


def compute(native, x, weights, biases=(None, None), *, norm=None, activation=None, residual=None, gated=False):
    """What `native_product` gives; a norm is its weight, epsilon and offset."""
    matrices = (Matrix * len(weights))()
    for matrix, weight, bias in zip(matrices, weights, biases, strict=False):
        (matrix.rows, matrix.columns), matrix.data, matrix.dtype = (
            weight.shape,
            weight.ctypes.data,
            DTYPES[str(weight.dtype)],
        )
        if bias is not None:
            matrix.bias, matrix.bias_dtype = bias.ctypes.data, DTYPES[str(bias.dtype)]
    around = Around(activation=ACTIVATIONS[activation], gated=gated)
    if norm is not None:
        around.norm, around.norm_dtype = norm[0].ctypes.data, DTYPES[str(norm[0].dtype)]
        around.epsilon, around.norm_offset = norm[1:]
    if residual is not None:
        around.residual = residual.ctypes.data
    outputs = [np.full((len(x), len(weight)), np.nan, np.float32) for weight in (weights[:1] if gated else weights)]
    pointers = (ctypes.c_void_p * len(outputs))(*(output.ctypes.data for output in outputs))
    assert native.native_product(x.ctypes.data, len(x), matrices, len(weights), pointers, ctypes.byref(around))
    return outputs


def normal(*shape, dtype="float32"):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return random.standard_normal(shape).astype(getattr(ml_dtypes, dtype, dtype))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name])
def test_an_activation_is_right_for_all_numbers(native, activation):
    x = np.concatenate([np.linspace(-100, 100, 20_001), np.linspace(-1e-3, 1e-3, 2_001), [-1e4, 1e4]]).astype("float32")
    x, one = x[:, None].copy(), np.ones((1, 1), np.float32)
    (got,) = compute(native, x, [one], activation=activation)
    expected = exact(activation, x.astype("float64"))
    assert (np.abs(got - expected) <= 1e-6 * np.abs(expected) + 1.2e-7 * np.minimum(1, np.abs(x))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("m", [1, 3, 19, 20, 130])
def test_a_norm_comes_first_and_a_bias_and_a_residual_last(native, dtype, offset, m):
    x, weights = normal(m, 70) * 3, [normal(37, 70), normal(5, 70)]
    norm, biases = normal(70, dtype=dtype), [normal(37, dtype=dtype), None]
    scale = 1 / np.sqrt((x.astype("float64") ** 2).mean(-1, keepdims=True) + 1e-2)
    normed = x * scale * (norm.astype("float64") + offset)
    for y, w, bias in zip(compute(native, x, weights, biases, norm=(norm, 1e-2, offset)), weights, biases, strict=True):
        close(y, normed @ w.T.astype("float64") + (0 if bias is None else bias.astype("float64")))
    residual = normal(m, 37)
    (y,) = compute(native, x, weights[:1], biases, norm=(norm, 1e-2, offset), activation="relu", residual=residual)
    close(y, np.maximum(normed @ weights[0].T.astype("float64") + biases[0].astype("float64"), 0) + residual)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize(("m", "n"), [(1, 20_000), (1, 37), (7, 3_001), (19, 64), (20, 64), (130, 101), (500, 49)])
def test_gates_are_multiplied(native, dtype, activation, m, n):
    """Also where one thread has more of them than it holds at a time."""
    x, gate, up = normal(m, 24), normal(n, 24, dtype=dtype), normal(n, 24, dtype=dtype)
    biases, residual = (normal(n), normal(n, dtype=dtype)), normal(m, n)
    (y,) = compute(native, x, [gate, up], biases, activation=activation, residual=residual, gated=True)
    first, second = (
        x.astype("float64") @ w.T.astype("float64") + b.astype("float64")
        for w, b in zip((gate, up), biases, strict=True)
    )
    close(y, exact(activation, first) * second + residual)
