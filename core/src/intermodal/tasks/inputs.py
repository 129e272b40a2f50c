"""Checks of what a model is called with, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from intermodal.errors import InputError


def check_indices(inputs: Mapping[str, Any], tables: Mapping[str, int]) -> None:
    """Refuse indices beyond their table, which JAX and TensorFlow would take for the last row without a word.

    Only what is in the host's memory is looked at (arrays of numpy, lists): a tensor would have to be waited for.

    Raises:
        InputError: names the input, the index and the rows.
    """
    for name, rows in tables.items():
        values = inputs.get(name)
        if not isinstance(values, np.ndarray | list | tuple):
            continue
        values = np.asarray(values)
        if not values.size or values.dtype.kind not in "iu":
            continue
        least, most = int(values.min()), int(values.max())
        if least < 0 or most >= rows:
            wrong = least if least < 0 else most
            raise InputError(f"{name} holds {wrong}, expected indices from 0 to {rows - 1}: its table has {rows} rows.")
