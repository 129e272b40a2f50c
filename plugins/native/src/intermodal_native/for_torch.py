"""Kernels for PyTorch on a CPU, in C. Each returns None for what it does not take, and PyTorch's operators do that.

They record no gradients. Everything is computed in float32; weights may be stored in any dtype of `DTYPES`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import torch
from intermodal.api import kernels
from torch import Tensor

from intermodal_native import library

MOST_ROWS = 32
"""Rows of activations up to which a product waits for its weights.

Beyond, PyTorch's own is faster, unless it has one thread only: its threads stay awake for a while after each operator,
on the cores that ours need.
"""

DTYPES = {getattr(torch, name): number for name, number in library.DTYPES.items()}
STORED = {getattr(torch, name): number for name, number in library.STORED.items()}
GROUPS = ((library.INT8, 16), (library.INT8, 32), (library.INT4, 32))
"""How integers are stored that have a scale for each group, and the columns of one."""
FLOATS = {getattr(torch, name): library.DTYPES[name] for name in library.FLOATS}

_native = library.library()
_product = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64),
    *(ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p),
)(("native_product", _native))
_matrix = Struct("@PPqqiiPq")  # struct matrix, as far as the bias
_bias = Struct("@Pq")  # the rest of it
_around = Struct("@PPiifii")  # struct around
_attention = Struct("@12P7qf0P")  # struct attention
_pointers = [Struct(f"@{count}P") for count in range(16)]
NO_BIAS = _bias.pack(0, 0)


def takes(x: Tensor) -> bool:
    """Whether these are kernels for x: plain float32 on a CPU, nothing recorded of what happens to it."""
    return (
        x.is_cpu
        and x.dtype is torch.float32
        and not torch.is_grad_enabled()
        and type(x) is Tensor
        and torch._C._get_tracing_state() is None
    )


class Prepared(NamedTuple):
    """A weight as C takes it; made once for many tokens, because Python is slow to ask a tensor what it is.

    Attributes:
        weight, scale, minimum: what it was made of, which it keeps alive.
        outputs, inputs: the weight's shape.
        matrix: `struct matrix`, as far as the bias.
    """

    weight: Tensor
    scale: Tensor | None
    minimum: Tensor | None
    outputs: int
    inputs: int
    matrix: bytes


def prepare(weight: Tensor, scale: Tensor | None, minimum: Tensor | None = None) -> Prepared | None:
    """A weight for `linears`; None where that does not take it.

    Args:
        weight: (out, in), or (out, in / 2) of 4 bits.
        scale: (out, 1) float32, or one for each group of a row.
        minimum: as the scale of groups.
    """
    number = STORED.get(weight.dtype)
    plain = isinstance(weight, torch.nn.Parameter) or type(weight) is Tensor
    if number is None or weight.ndim != 2 or not plain or not weight.is_cpu or not weight.is_contiguous():
        return None
    outputs, inputs = weight.shape
    inputs *= 2 if number == library.INT4 else 1
    beside, groups = [part for part in (scale, minimum) if part is not None], 0
    one_a_row = scale is not None and scale.dtype == torch.float32 and scale.shape[1] == 1
    if scale is not None and (number == library.INT4 or minimum is not None or not one_a_row):
        groups = scale.shape[1]
        if (number, inputs / groups) not in GROUPS or scale.dtype not in (torch.float32, torch.float16):
            return None
    if any(part.dtype != beside[0].dtype or not part.is_contiguous() for part in beside):
        return None
    if number == library.INT4 and not groups:
        return None
    addresses = [part.data_ptr() for part in beside] + [0, 0]
    scales = library.FLOAT16 if beside and beside[0].dtype == torch.float16 else library.FLOAT32
    matrix = _matrix.pack(
        *(weight.data_ptr(), addresses[0], outputs, inputs, number, scales),
        *(addresses[1], groups),
    )
    return Prepared(weight, scale, minimum, outputs, inputs, matrix)


def linears(
    x: Tensor,
    bundles: Sequence[kernels.Bundle],
    weights: Sequence[Prepared | None],
    norm: kernels.Norm | None = None,
    activation: str | None = None,
    residual: Tensor | None = None,
    *,
    gated: bool = False,
) -> tuple[Tensor, ...] | None:
    """Linears of x (…, in) float32, as `kernels.linear` and its neighbours have them.

    Args:
        x: the activations.
        bundles: what belongs to the weights.
        weights: the same, prepared.
        norm: of x, before.
        activation: of one product, or of the first where `gated`.
        residual: (…, out), added to one product.
        gated: the first of two is multiplied by the second.

    Returns:
        (…, out) float32 for each weight; or one, where `gated`.
    """
    if not takes(x) or len(weights) >= len(_pointers):
        return None
    *lead, width = x.shape
    rows = x.numel() // max(width, 1)
    if not rows or (rows > MOST_ROWS and torch.get_num_threads() > 1):
        return None
    matrices = b""
    for w, weight in zip(bundles, weights, strict=True):
        if weight is None or weight.inputs != width or w.lora_a is not None:
            return None
        bias = NO_BIAS if w.bias is None else _packed_bias(w.bias)
        if bias is None:
            return None
        matrices += weight.matrix + bias
    around = None
    if gated or norm is not None or activation is not None or residual is not None:
        shape = (*lead, weights[0].outputs)
        residual = residual if residual is None else residual.contiguous()
        around = _packed_around(norm, activation, residual, shape, gated)
        if around is None:
            return None
    x = x.contiguous()
    found = [x.new_empty((*lead, weight.outputs)) for weight in (weights[:1] if gated else weights)]
    addresses = _pointers[len(found)].pack(*[y.data_ptr() for y in found])
    return tuple(found) if _product(x.data_ptr(), rows, matrices, len(weights), addresses, around) else None


def _packed_bias(bias: Tensor) -> bytes | None:
    number = FLOATS.get(bias.dtype)
    return (
        None if number is None or not bias.is_cpu or not bias.is_contiguous() else _bias.pack(bias.data_ptr(), number)
    )


def _packed_around(
    norm: kernels.Norm | None, activation: str | None, residual: Tensor | None, shape: tuple[int, ...], gated: bool
) -> bytes | None:
    """`struct around`; None for what it cannot tell."""
    activated, added, address, number, offset, epsilon = library.ACTIVATIONS.get(activation), 0, 0, 0, False, 0.0
    if activated is None:
        return None
    if residual is not None:
        if not takes(residual) or residual.shape != shape:
            return None
        added = residual.data_ptr()
    if norm is not None:
        weight, epsilon, offset = norm.w.weight, norm.epsilon, norm.offset
        number = FLOATS.get(weight.dtype)
        if number is None or not weight.is_cpu or not weight.is_contiguous():
            return None
        address = weight.data_ptr()
    return _around.pack(address, added, number, offset, epsilon, activated, gated)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, *, offset: bool) -> Tensor | None:
    """x (…, width) over its root mean square, times weight (width,), or 1 + weight where `offset`."""
    number = DTYPES.get(weight.dtype)
    if number is None or not takes(x) or not weight.is_cpu or not weight.is_contiguous():
        return None
    x = x.contiguous()
    y, width = torch.empty_like(x), x.shape[-1]
    rows = x.numel() // max(width, 1)
    _native.native_norm(x.data_ptr(), weight.data_ptr(), number, offset, epsilon, y.data_ptr(), rows, width)
    return y


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor | None:
    """One position of each row: x (B, N, 1, D), tables (B or 1, 1, 1, D) with the sines of the first half negated."""
    batch, heads, length, width = x.shape
    if length != 1 or cosines.shape[-1] != width or width % 2 or not takes(x) or not takes(cosines):
        return None
    if not (x.is_contiguous() and cosines.is_contiguous() and sines.is_contiguous()):
        return None
    y = torch.empty_like(x)
    step = width if cosines.shape[0] > 1 else 0
    _native.native_rotate(x.data_ptr(), cosines.data_ptr(), sines.data_ptr(), step, y.data_ptr(), batch, heads, width)
    return y


def attend(
    keys: Tensor,
    values: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranges: kernels.Ranges,
    scale: float,
    rope: tuple[Tensor, Tensor] | None = None,
) -> Tensor | None:
    """Write the keys and values of new tokens to the cache, and attend to what each of them sees.

    Args:
        keys, values: the cache, (B, K, capacity, D) float32, contiguous; written to.
        q: (A, T, N·D). k, v: with K for N.
        ranges: of the A · T tokens.
        scale: of the scores.
        rope: tables (A or 1, 1, T, D) as `rotate` takes them, by which q and k are rotated first.

    Returns:
        The values attended to, shaped as q.
    """
    batch, groups, capacity, width = keys.shape
    lead, length, size = q.shape
    tokens, shape = lead * length, (lead, length, groups * width)
    if not takes(q) or not takes(keys) or not keys.is_contiguous() or not values.is_contiguous():
        return None
    if size % (groups * width) or k.shape != shape or v.shape != shape:
        return None
    numbers = [x if x is None else x.contiguous() for x in ranges]
    if any(x is not None and (x.dtype is not torch.int32 or x.shape != (tokens,)) for x in numbers):
        return None
    cosines = sines = step = 0
    if rope is not None:
        if rope[0].shape[-1] != width or width % 2 or rope[0].dtype is not torch.float32:
            return None
        tables = [table.expand(lead, 1, length, width).contiguous() for table in rope]
        # The second halves are the plain cosines and sines.
        cosines, sines = (table.data_ptr() + table.element_size() * (width // 2) for table in tables)
        step = width
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    y = torch.empty_like(q)
    addresses = (0 if x is None else x.data_ptr() for x in (q, k, v, keys, values, y, *numbers))
    numbers = (tokens, batch, size // width, groups, width, capacity, step)
    fault = _native.native_attend(_attention.pack(*addresses, cosines, sines, *numbers, scale))
    return y if fault is None else None
