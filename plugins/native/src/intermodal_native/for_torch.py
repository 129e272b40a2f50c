"""Kernels for PyTorch on a CPU, in C. Each returns None for what it does not take, and PyTorch's operators do that.

They record no gradients. Everything is computed in float32; weights may be stored in any dtype of `DTYPES`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import torch
from torch import Tensor

from intermodal_native import library

MOST_ROWS = 32
"""Rows of activations up to which a product waits for its weights; PyTorch's own is faster beyond."""

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
_attention = Struct("@9P8qf0P")  # struct attention
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
    if not 0 < rows <= MOST_ROWS:
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
    offset: int,
    seen: Tensor | None,
    scale: float,
    rope: tuple[Tensor, Tensor] | None = None,
) -> Tensor | None:
    """Write one new key and value of each row to the cache at `offset`, and attend to it up to there.

    Args:
        keys, values: the cache, (B, K, capacity, D) float32, contiguous; written to.
        q: (B, N, 1, D), or (B, 1, N·D). k, v: with K for N.
        offset: below the capacity.
        seen: (B or 1, 1, 1, offset + 1) bool, which keys each row sees; None when all. At least one.
        scale: of the scores.
        rope: tables as `rotate` takes them, by which q and k are rotated first.

    Returns:
        The values attended to, shaped as q.
    """
    batch, groups, capacity, width = keys.shape
    size = q.numel()
    heads = size // (batch * width)
    if not takes(q) or not takes(keys) or not keys.is_contiguous() or not values.is_contiguous():
        return None
    if q.shape[0] != batch or (q.shape[1] if q.ndim == 3 else q.shape[2]) != 1 or size != batch * heads * width:
        return None
    if k.numel() != batch * groups * width or heads % groups or not 0 <= offset < capacity:
        return None
    address = step = 0
    if seen is not None:
        if seen.dtype is not torch.bool or not seen.is_contiguous() or seen.shape[1:] != (1, 1, offset + 1):
            return None
        address, step = seen.data_ptr(), offset + 1 if seen.shape[0] > 1 else 0
    cosines = sines = turn = 0
    if rope is not None:
        if rope[0].shape[1:] != (1, 1, width) or width % 2 or not rope[0].is_contiguous():
            return None
        cosines, sines, turn = rope[0].data_ptr(), rope[1].data_ptr(), width if len(rope[0]) > 1 else 0
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    y = torch.empty_like(q)
    packed = _attention.pack(
        *(q.data_ptr(), k.data_ptr(), v.data_ptr(), keys.data_ptr(), values.data_ptr(), y.data_ptr(), address),
        *(cosines, sines, batch, heads, groups, width, capacity, offset, step, turn, scale),
    )
    return y if _native.native_attend(packed) else None
