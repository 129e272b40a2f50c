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
GATES = {"silu": 0, "gelu_tanh": 1}

_native = library.library()
_product = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)(
    ("native_product", _native)
)
_matrix = Struct("@PPqqiiPq")  # struct matrix
_attention = Struct("@12P7qf0P")  # struct attention
_pointers = [Struct(f"@{count}P") for count in range(16)]


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
        matrix: `struct matrix`.
    """

    weight: Tensor
    scale: Tensor | None
    minimum: Tensor | None
    outputs: int
    inputs: int
    matrix: bytes


def prepare(weight: Tensor, scale: Tensor | None, minimum: Tensor | None = None) -> Prepared | None:
    """A weight for `products`; None where that does not take it.

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


def products(x: Tensor, weights: Sequence[Prepared | None]) -> list[Tensor] | None:
    """`x @ weight.T`, times its scale, for each weight. x (…, in) float32 → (…, out) for each, float32."""
    if not takes(x) or len(weights) >= len(_pointers):
        return None
    *lead, width = x.shape
    rows = x.numel() // max(width, 1)
    if not rows or (rows > MOST_ROWS and torch.get_num_threads() > 1):
        return None
    x = x.contiguous()
    found, addresses, matrices = [], [], b""
    for weight in weights:
        if weight is None or weight.inputs != width:
            return None
        y = x.new_empty((*lead, weight.outputs))
        found.append(y)
        addresses.append(y.data_ptr())
        matrices += weight.matrix
    _product(x.data_ptr(), rows, matrices, len(found), _pointers[len(found)].pack(*addresses))
    return found


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


def gated(activation: str, gate: Tensor, up: Tensor) -> Tensor | None:
    """`activation(gate) * up`, both of one shape."""
    number = GATES.get(activation)
    if number is None or gate.shape != up.shape or not takes(gate) or not takes(up):
        return None
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate)
    _native.native_gate(number, gate.data_ptr(), up.data_ptr(), y.data_ptr(), gate.numel())
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
