"""Products in XLA's own operations, in the forms that it computes well for one row on a CPU."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Tensor = Any

SMALL = 1 << 19
"""Elements of a matrix below which XLA multiplies it with a vector on one thread of a CPU."""


NARROW = (jnp.bfloat16, jnp.float16, jnp.int8)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` without writing the transpose down."""
    outputs, inputs = weight.shape
    row_on_cpu = x.size == inputs and jax.default_backend() == "cpu"
    if row_on_cpu and x.dtype == jnp.float32 and weight.dtype in NARROW and inputs % _lanes(inputs) == 0:
        return _narrow_product(x, weight)
    if row_on_cpu and weight.size < SMALL and outputs % 2 == 0:
        # Two halves are a batch, and XLA computes the parts of a batch side by side.
        halves = weight.astype(x.dtype).reshape(2, outputs // 2, inputs)
        pair = jnp.broadcast_to(x.reshape(1, 1, inputs), (2, 1, inputs))
        y = lax.dot_general(halves, pair, (((2,), (2,)), ((0,), (0,))))
        return y.reshape(*x.shape[:-1], outputs)
    return lax.dot_general(x, weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))


def _lanes(inputs: int) -> int:
    """How many sums each output is divided into: few, but so that no more than 24 columns go into each."""
    lanes = 64
    while inputs > 24 * lanes:
        lanes *= 2
    return lanes


def _narrow_product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` of one float32 row and narrower weights, which are widened in registers.

    XLA's own products take operands of one dtype: it writes the widened matrix to memory first, which costs more than
    float32 weights would. Sums of slices of columns are element-wise operations, and those it fuses with the widening.
    Floats are sliced as integers, because XLA widens 16-bit floats before it slices them.
    """
    outputs, inputs = weight.shape
    lanes, row = _lanes(inputs), x.reshape(inputs)
    bits = weight if weight.dtype == jnp.int8 else lax.bitcast_convert_type(weight, jnp.uint16)
    sums = jnp.zeros((), jnp.float32)
    for start in range(0, inputs, lanes):
        part = bits[:, start : start + lanes]
        if weight.dtype == jnp.bfloat16:
            part = lax.bitcast_convert_type(part.astype(jnp.uint32) << 16, jnp.float32)
        elif weight.dtype == jnp.float16:
            part = lax.bitcast_convert_type(part, jnp.float16)
        sums = sums + part.astype(jnp.float32) * row[start : start + lanes]
    y = lax.dot_general(jnp.ones((1, lanes), jnp.float32), sums, (((1,), (1,)), ((), ())))
    return y.reshape(*x.shape[:-1], outputs)
