"""Rounding matrices to small integers: what cannot be rounded so is refused, and why."""

import numpy as np
import pytest
from intermodal.errors import WeightError
from intermodal.weights.packing import INT4, INT8, packed, widened

HUGE = np.linspace(-1e30, 1e30, 2 * 64, dtype=np.float32).reshape(2, 64)


def test_values_beyond_the_scales_are_refused_with_a_mode_that_takes_them():
    told = r'a\.weight holds values that are too large .*float16.*quantize\("int8"\)'
    with np.errstate(invalid="ignore"), pytest.raises(WeightError, match=told):
        packed(HUGE, INT4, "a.weight")
    np.testing.assert_allclose(widened(packed(HUGE, INT8, "a.weight")), HUGE, atol=1e30 / 127)


@pytest.mark.parametrize("packing", [INT4, INT8])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_no_mode_is_offered_for_values_that_are_not_finite(packing, value):
    values = np.ones((2, 64), np.float32)
    values[1, 3] = value
    with np.errstate(invalid="ignore"), pytest.raises(WeightError, match=r"a\.weight.*not finite, which") as error:
        packed(values, packing, "a.weight")
    assert "int8" not in str(error.value)
