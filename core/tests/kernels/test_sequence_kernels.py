"""Kernels of sequences that are no tokens, convolutions and group norms: against torch's own operators."""

import keras
import numpy as np
import pytest
from intermodal import kernels
from intermodal.kernels import Bundle, reference
from keras import ops

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")
random = np.random.default_rng(11)

CASES = {
    "plain": {},
    "stride": {"stride": 3},
    "padding": {"padding": 2},
    "dilation": {"dilation": 2},
    "stride and padding": {"stride": 2, "padding": 3},
    "dilation and padding": {"padding": 3, "dilation": 2},
}


def close(got, expected, tolerance=3e-6):
    values = np.asarray(ops.convert_to_numpy(ops.cast(got, "float32")))
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def normal(*shape):
    return random.standard_normal(shape).astype("float32")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("groups", [1, 2, 12])
@pytest.mark.parametrize("bias", [True, False])
def test_conv1d(case, groups, bias):
    x, weight, offset = normal(2, 31, 12), normal(24, 12 // groups, 4), normal(24) if bias else None
    expected = torch.nn.functional.conv1d(
        torch.tensor(x, dtype=torch.float64).transpose(1, 2),
        torch.tensor(weight, dtype=torch.float64),
        None if offset is None else torch.tensor(offset, dtype=torch.float64),
        groups=groups,
        **CASES[case],
    )
    bundle = Bundle(ops.convert_to_tensor(weight), None if offset is None else ops.convert_to_tensor(offset))
    for module in (kernels, reference):
        close(module.conv1d(ops.convert_to_tensor(x), bundle, **CASES[case]), expected.transpose(1, 2).numpy())


def test_conv1d_widens_narrow_weights():
    x, weight, bias = normal(1, 9, 4), normal(6, 4, 3), normal(6)
    narrow = Bundle(*(ops.cast(ops.convert_to_tensor(values), "bfloat16") for values in (weight, bias)))
    wide = Bundle(*(ops.cast(values, "float32") for values in (narrow.weight, narrow.bias)))
    for module in (kernels, reference):
        got = module.conv1d(ops.convert_to_tensor(x), narrow)
        assert keras.backend.standardize_dtype(got.dtype) == "float32"
        close(got, np.asarray(ops.convert_to_numpy(module.conv1d(ops.convert_to_tensor(x), wide))))


@pytest.mark.parametrize("groups", [1, 3, 12])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_group_norm(groups, dtype):
    x = ops.cast(ops.convert_to_tensor(normal(2, 17, 12) * 3 + 1), dtype)
    weight, bias = normal(12), normal(12)
    expected = torch.nn.functional.group_norm(
        torch.tensor(np.asarray(ops.convert_to_numpy(ops.cast(x, "float32"))), dtype=torch.float64).transpose(1, 2),
        groups,
        torch.tensor(weight, dtype=torch.float64),
        torch.tensor(bias, dtype=torch.float64),
        1e-3,
    )
    bundle = Bundle(ops.convert_to_tensor(weight), ops.convert_to_tensor(bias))
    for module in (kernels, reference):
        got = module.group_norm(x, bundle, groups, 1e-3)
        assert keras.backend.standardize_dtype(got.dtype) == dtype
        close(got, expected.transpose(1, 2).numpy(), 3e-6 if dtype == "float32" else 8e-3)
