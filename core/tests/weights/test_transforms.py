"""A constant that a checkpoint adds to a weight comes off without a trace, and goes on again."""

import numpy as np
import pytest
from intermodal.dtypes import numpy_dtype
from intermodal.weights.transforms import AddConstant, Flatten


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_one_added_in_float32_comes_off_again(dtype):
    narrow = np.random.default_rng(0).normal(0.5, 1.5, 4000).astype(numpy_dtype(dtype))
    narrow = narrow[np.abs(narrow.astype("float32")) >= 2.0**-13]
    stored = narrow.astype("float32") + np.float32(1)
    transform = AddConstant(-1.0)
    loaded = transform.load(stored)
    np.testing.assert_array_equal(loaded, narrow.astype("float32"))
    np.testing.assert_array_equal(transform.export(loaded), stored)
    assert loaded.dtype == np.float32
    assert transform.stored_shape((3,)) == (3,)


def test_a_kernel_is_flattened_and_comes_back():
    stored = np.arange(120).reshape(5, 2, 3, 4)
    transform = Flatten(stored.shape)
    assert transform.stored_shape((5, 24)) == stored.shape
    np.testing.assert_array_equal(transform.load(stored)[3], stored[3].ravel())
    np.testing.assert_array_equal(transform.export(transform.load(stored)), stored)
