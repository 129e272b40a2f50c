"""Dtypes by name: numpy's own and those of ml_dtypes, and the rule for what weights are computed in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from intermodal.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

FLOATS = ("float32", "bfloat16", "float16")
"""What `dtype=` takes, besides "auto"."""


@functools.cache
def numpy_dtype(name: str) -> np.dtype:
    """The numpy dtype of a name, `"bfloat16"` and the 8-bit floats included.

    Raises:
        ConfigError: there is no dtype of that name.
    """
    import ml_dtypes
    import numpy as np

    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:
        raise ConfigError(f"There is no dtype {name!r}. Weights can be stored as: {', '.join(FLOATS)}.") from None


def is_float(name: str) -> bool:
    """Whether values of this dtype are real numbers that another float dtype can hold (8-bit floats included)."""
    return name.startswith(("float", "bfloat"))


def check_storage(name: str) -> str:
    """Return `name` if weights can be stored in it, `"auto"` included.

    Raises:
        ConfigError: it is not one of them.
    """
    if name != "auto" and name not in FLOATS:
        raise ConfigError(
            f'dtype={name!r} is not a dtype that weights are stored in. Use "auto" (the checkpoint\'s own) or one of: '
            f'{", ".join(FLOATS)}; int8 comes from model.quantize("int8").'
        )
    return name


def compute_dtype(stored: str, device: str) -> str:
    """What weights stored in `stored` are computed in on a device of kind `"cpu"`, `"gpu"` or `"tpu"`.

    A CPU without narrow units emulates bfloat16 at a tenth of the speed of float32, and float16 overflows in many
    models; both are exact in float32. Accelerators compute in what is stored.
    """
    if device == "cpu" or not is_float(stored):
        return "float32"
    return stored if stored in FLOATS else "bfloat16"
