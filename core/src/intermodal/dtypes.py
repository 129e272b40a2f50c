"""Dtypes by name: numpy's own and those of ml_dtypes, and the rules for what weights are stored and computed in."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

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
            f'dtype={name!r} is not a dtype that weights are stored in. Use "auto" (the fastest that keeps the '
            f'checkpoint\'s values) or one of: {", ".join(FLOATS)}; int8 and int4 come from model.quantize("int8").'
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


class Storage(NamedTuple):
    """What the weights of a checkpoint are stored in.

    Attributes:
        dtype: a float dtype for all of them; or `"auto"`, each as in the checkpoint.
        packed: matrices in blocks of small integers stay so; else their values are float32, or `dtype`.
        reason: a sentence for whoever asks why.
    """

    dtype: str
    packed: bool
    reason: str


def default_storage(
    device: str, dtypes: Collection[str], packed: Collection[str], *, kernels: bool, blocks: bool
) -> Storage:
    """What `dtype="auto"` means: what decodes fastest of all that keeps the checkpoint's values.

    Args:
        device: `"cpu"`, `"gpu"` or `"tpu"`.
        dtypes: of the checkpoint's weights.
        packed: types of those that are in blocks of small integers, which could stay so.
        kernels: compiled kernels for the running backend are there, which read narrow weights as they are stored.
        blocks: those read packed blocks, too.
    """
    narrow = " and ".join(sorted({"bfloat16", "float16"} & set(dtypes)))
    types = ", ".join(sorted(packed))
    if device != "cpu":
        said = f"Weights are stored as in the checkpoint, and computed in the same, as a {device} does."
        return Storage("auto", False, f"{said} The values of {types} become float32." if packed else said)
    if kernels and packed and blocks:
        return Storage("auto", True, f"Blocks of {types} stay packed: compiled kernels read them so.")
    if kernels and narrow:
        said = f"Weights are stored in {narrow}, as in the checkpoint, and computed in float32"
        return Storage("auto", False, f"{said}: compiled kernels read them so.")
    without = "without compiled kernels (intermodal-native)"
    if narrow:
        said = f"Weights are stored in float32, which holds the checkpoint's {narrow} exactly: {without} a CPU widens"
        return Storage("float32", False, f"{said} narrow ones at each use. A narrow dtype= takes half the memory.")
    if packed:
        return Storage("auto", False, f"The values of {types} are stored in float32: {without} nothing reads blocks.")
    return Storage("auto", False, "Weights are stored and computed in float32.")
