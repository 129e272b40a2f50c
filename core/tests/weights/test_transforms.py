"""A constant that a checkpoint adds to a weight comes off without a trace, and goes on again."""

import numpy as np
import pytest
from intermodal.dtypes import numpy_dtype
from intermodal.weights.transforms import AddConstant


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
