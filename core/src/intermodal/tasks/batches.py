"""Rows of different lengths as arrays of one shape, out of few shapes where each costs compiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

COMPILED = keras.backend.backend() != "torch"
"""Whether every new shape costs compiling."""


def padded(
    rows: Mapping[str, Sequence[Sequence[int]]], context_length: int, fill: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Arrays (batch, length) in int32 of rows by name, padded on the right.

    Where shapes are compiled, the length goes up to a bucket, and the batch to a power of two by empty rows: the first
    `len(rows["input_ids"])` of the results are of the rows.

    Args:
        rows: of `input_ids` and what belongs to them.
        context_length: what buckets stay below, in tokens.
        fill: what stands under the padding of a name; 0 where it is not named.
    """
    longest = max(map(len, rows["input_ids"]))
    length = min(bucket(longest), max(longest, context_length)) if COMPILED else longest
    number = batch_of(len(rows["input_ids"]))
    arrays = {name: np.full((number, length), (fill or {}).get(name, 0), np.int32) for name in rows}
    for name, values in rows.items():
        for index, row in enumerate(values):
            arrays[name][index, : len(row)] = row
    return arrays


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape as a batch, which goes up to a power of two by rows of zeros where shapes are compiled."""
    missing = batch_of(len(rows)) - len(rows)
    return np.stack([*rows, *[np.zeros_like(rows[0])] * missing])


def batch_of(number: int) -> int:
    """How many rows are computed for so many: a power of two where shapes are compiled."""
    return 1 << (number - 1).bit_length() if COMPILED else number


def bucket(length: int) -> int:
    """`length` rounded up by less than 4, or less than a quarter of it: few shapes, and little padding."""
    step = max(4, 1 << ((length - 1).bit_length() - 3)) if length > 4 else 4
    return -(-length // step) * step
