"""The kernels in PyTorch: fused operators, and a cache that is written in place."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from intermodal import compiled
from intermodal.kernels import reference
from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.groups import in_groups, widen_groups
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.reference import as_one as as_one
from intermodal.kernels.reference import capacity as capacity
from intermodal.kernels.reference import grow as grow
from intermodal.kernels.reference import inference as inference

Cache = tuple[Tensor, Tensor]

CAUSAL = "causal"
"""A mask that `attention` hands to the fused operator as a flag instead of a matrix."""

WIDENED = 1 << 20
"""Elements of a narrow weight that are widened at a time on a CPU.

Widening the table of a vocabulary at once takes fresh memory from the system at every token, which is most of the time
of decoding; what fits into the caches is reused.
"""


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name)


def _cast(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor if tensor.dtype == like.dtype else tensor.to(like.dtype)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`, a narrow weight widened to x's dtype a few rows at a time, which stay in the caches."""
    if weight.dtype == x.dtype:
        return F.linear(x, weight)
    rows = max(1, WIDENED // weight.shape[1])
    if x.device.type != "cpu" or len(weight) <= rows:
        return F.linear(x, weight.to(x.dtype))
    return torch.cat([F.linear(x, part.to(x.dtype)) for part in weight.split(rows)], dim=-1)


def _compiled() -> Any | None:
    """Kernels compiled for this machine's CPU; each gives None for tensors that it does not take."""
    return None if torch.compiler.is_compiling() else _loaded()


@functools.cache
def _loaded() -> Any | None:
    return compiled.for_cpu("torch")


def prepare(weight: Tensor, scale: Tensor | None, minimum: Tensor | None = None) -> Any:
    """As `reference.prepare`."""
    native = _compiled()
    return None if native is None else native.prepare(weight, scale, minimum)


def fused(
    x: Tensor,
    bundles: tuple[Bundle, ...],
    norm: Norm | None = None,
    activation: str | None = None,
    residual: Tensor | None = None,
    *,
    gated: bool = False,
) -> tuple[Tensor, ...] | None:
    """Linears with what is around them, as `products` has it, by compiled kernels; None where these do not take it."""
    native = _compiled()
    if native is None:
        return None
    return native.linears(x, bundles, [_prepared(w) for w in bundles], norm, activation, residual, gated=gated)


def linears(x: Tensor, *bundles: Bundle) -> tuple[Tensor, ...]:
    """The linears alone, by PyTorch's own operators; see `products`."""
    return tuple([_linear(x, w) for w in bundles])


def _prepared(w: Bundle) -> Any:
    """The weight as compiled kernels take it: what came with the bundle, unless its weight was replaced since."""
    prepared = w.prepared
    if prepared is not None and prepared.weight is w.weight and prepared.scale is w.scale:
        return prepared
    return prepare(w.weight, w.scale, w.minimum)


def _linear(x: Tensor, w: Bundle) -> Tensor:
    """A linear by PyTorch's own operators."""
    if w.scale is None and w.bias is not None and w.weight.dtype == x.dtype:
        return completed(x, F.linear(x, w.weight, _cast(w.bias, x)), w._replace(bias=None))
    if in_groups(w.weight, w.scale, w.minimum):
        return completed(x, _group_product(x, w), w)
    y = _product(x, w.weight)
    return completed(x, y if w.scale is None else y * _cast(w.scale[:, 0], x), w)


def _group_product(x: Tensor, w: Bundle) -> Tensor:
    """The product with a weight in groups, a few rows of which are widened at a time."""
    rows = max(1, WIDENED // x.shape[-1])
    minima = [None] * -(-len(w.weight) // rows) if w.minimum is None else w.minimum.split(rows)
    parts = zip(w.weight.split(rows), w.scale.split(rows), minima, strict=True)
    return torch.cat([F.linear(x, widen_groups(*part, x.dtype)) for part in parts], dim=-1)


def completed(x: Tensor, y: Tensor, w: Bundle) -> Tensor:
    """The product y of x, with the bias and the LoRA update; see `products`."""
    if w.bias is not None:
        y = y + _cast(w.bias, x)
    if w.lora_a is not None:
        y = y + _product(_product(x, w.lora_a), w.lora_b) * w.lora_scale
    return y


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    if in_groups(w.weight, w.scale, w.minimum):
        return reference.embedding(ids, w, dtype)
    rows = F.embedding(ids, w.weight).to(_dtype(dtype))
    return rows if w.scale is None else rows * w.scale[ids].to(rows.dtype)


def _unit_rms(x: Tensor, epsilon: float) -> Tensor:
    """x over its root mean square, in float32."""
    x = x.float()
    if x.device.type != "cpu":
        return F.rms_norm(x, x.shape[-1:], None, epsilon)
    # On a CPU `F.rms_norm` is no single operator either, but ten of them.
    return x * (x.square().mean(dim=-1, keepdim=True) + epsilon).rsqrt()


def rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.rms_norm`."""
    native = _compiled()
    y = None if native is None else native.rms_norm(x, w.weight, epsilon, offset=False)
    if y is not None:
        return y
    return _cast(w.weight, x) * _unit_rms(x, epsilon).to(x.dtype)


def offset_rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.offset_rms_norm`."""
    native = _compiled()
    y = None if native is None else native.rms_norm(x, w.weight, epsilon, offset=True)
    if y is not None:
        return y
    return (_unit_rms(x, epsilon) * (1.0 + w.weight.float())).to(x.dtype)


def layer_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.layer_norm`."""
    return F.layer_norm(x.float(), w.weight.shape, w.weight.float(), w.bias.float(), epsilon).to(x.dtype)


def group_norm(x: Tensor, w: Bundle, groups: int, epsilon: float) -> Tensor:
    """As `reference.group_norm`."""
    wide = x.float().transpose(1, 2)
    return F.group_norm(wide, groups, w.weight.float(), w.bias.float(), epsilon).transpose(1, 2).to(x.dtype)


def conv1d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """As `reference.conv1d`."""
    bias = None if w.bias is None else _cast(w.bias, x)
    groups = x.shape[2] // w.weight.shape[1]
    y = F.conv1d(x.transpose(1, 2), _cast(w.weight, x), bias, stride, padding, dilation, groups)
    return y.transpose(1, 2)


def conv2d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0) -> Tensor:
    """As `reference.conv2d`. Channels are moved by a view: the operator computes on them as they lie."""
    bias = None if w.bias is None else _cast(w.bias, x)
    groups = x.shape[3] // w.weight.shape[1]
    return F.conv2d(x.movedim(3, 1), _cast(w.weight, x), bias, stride, padding, groups=groups).movedim(1, 3)


def silu(x: Tensor) -> Tensor:
    """As `reference.silu`."""
    return F.silu(x)


def gelu(x: Tensor) -> Tensor:
    """As `reference.gelu`."""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """As `reference.gelu_tanh`."""
    return F.gelu(x, approximate="tanh")


def relu(x: Tensor) -> Tensor:
    """As `reference.relu`."""
    return F.relu(x)


def argmax(x: Tensor) -> Tensor:
    """As `reference.argmax`; on a CPU by numpy, where the operator takes fifty times as long over a vocabulary."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.int32) and not torch.compiler.is_compiling():
        return torch.from_numpy(x.detach().numpy().argmax(axis=-1)).to(torch.int32)
    return x.argmax(dim=-1).to(torch.int32)


def tanh(x: Tensor) -> Tensor:
    """As `reference.tanh`."""
    return torch.tanh(x)


def rotary_table(positions: Tensor, frequencies: Any, factor: float, dtype: str) -> tuple[Tensor, Tensor]:
    """As `reference.rotary_table`, for both halves of a head: (B, 1, T, D), the sines of the first half negated."""
    table = torch.as_tensor(frequencies, dtype=torch.float32, device=positions.device)
    angles = positions.to(torch.float32)[:, None, :, None] * table
    cos, sin = (angles.cos() * factor).to(_dtype(dtype)), (angles.sin() * factor).to(_dtype(dtype))
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """As `reference.rotate`, in three operators: decoding one token costs what operators cost, not arithmetic."""
    cos, sin = table
    native = _compiled()
    y = None if native is None else native.rotate(x, cos, sin)
    if y is not None:
        return y
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((b, a), dim=-1), sin)


def split_heads(x: Tensor, width: int) -> Tensor:
    """As `reference.split_heads`, a view."""
    batch, length, _ = x.shape
    return x.view(batch, length, -1, width).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """As `reference.merge_heads`."""
    return x.transpose(1, 2).flatten(2)


def attention_mask(
    valid: Tensor | None,
    queries: int,
    keys: int,
    offset: int = 0,
    *,
    causal: bool = True,
    window: int | None = None,
    blocks: Tensor | None = None,
) -> Tensor | str | None:
    """As `reference.attention_mask`; where no matrix is needed, none is made.

    A query that sees nothing (padding) would come out as NaN: it is let see everything, and nobody looks at it.
    """
    end = offset + queries
    if valid is None and blocks is None and (window is None or window >= end):
        if not causal or queries == 1:
            return None
        if offset == 0:
            return CAUSAL
    keys = min(keys, end) if causal else keys
    given = valid if valid is not None else blocks
    device = given.device if given is not None else None
    row = torch.arange(offset, end, device=device)[:, None]
    column = torch.arange(keys, device=device)[None, :]
    mask = column <= row if causal else torch.ones(queries, keys, dtype=torch.bool, device=device)
    if blocks is not None:
        mask = mask | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks[:, :, None] >= 0))
    if window is not None:
        distance = row - column if causal else (row - column).abs()
        mask = mask & (distance < window)
    mask = mask[None, None] if blocks is None else mask[:, None]
    if valid is None:
        return mask
    mask = mask & valid[:, None, None, :keys].bool()
    return mask | ~mask.any(dim=-1, keepdim=True)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | str | None, scale: float, bias: Tensor | None = None
) -> Tensor:
    """As `reference.attention`, by the fused operator."""
    grouped = q.shape[1] != k.shape[1]
    if bias is not None:
        mask = _with_bias(mask, _cast(bias, q))
    if isinstance(mask, str):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    if mask is not None and mask.device != q.device:
        mask = mask.to(q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)


def _with_bias(mask: Tensor | str | None, bias: Tensor) -> Tensor:
    """What the fused operator adds to scores: the bias, and no chance for what may not be seen."""
    if isinstance(mask, str):
        mask = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).tril()
    return bias if mask is None else bias.masked_fill(~mask.to(bias.device), float("-inf"))


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """As `reference.new_cache`, on the device that Keras' scope names."""
    from keras.src.backend.torch.core import get_device

    shape = (batch, heads, capacity, width)
    options = {"dtype": _dtype(dtype), "device": get_device()}
    return torch.zeros(shape, **options), torch.zeros(shape, **options)


def append(cache: Cache, k: Tensor, v: Tensor, offset: int) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`, in place; only what is written so far is attended to."""
    length = k.shape[2]
    keys, values = cache
    keys.narrow(2, offset, length).copy_(k)
    values.narrow(2, offset, length).copy_(v)
    return cache, keys.narrow(2, 0, offset + length), values.narrow(2, 0, offset + length)


def takes_ranges(cache: Cache | None) -> bool:
    """As `reference.takes_ranges`. Without a cache the fused operator is best, told by a matrix."""
    native = _compiled()
    return cache is not None and native is not None and native.takes(cache[0])


def ranges(first: Tensor | None, batch: int, length: int, offset: int) -> Ranges:
    """As `reference.ranges`."""
    slots = torch.arange(offset, offset + length, dtype=torch.int32, device="cpu").repeat(batch)
    return Ranges(None, slots, torch.zeros_like(slots) if first is None else first.repeat_interleave(length))


def attend(
    cache: Cache,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offset: int,
    mask: Tensor | Ranges | str | None,
    scale: float,
) -> tuple[Cache, Tensor]:
    """As `reference.attend`."""
    if isinstance(mask, Ranges):
        native, width = _compiled(), q.shape[3]
        y = None if native is None else native.attend(*cache, *map(merge_heads, (q, k, v)), mask, scale)
        return reference.attend_ranges(cache, q, k, v, mask, scale) if y is None else (cache, split_heads(y, width))
    cache, k, v = append(cache, k, v, offset)
    return cache, attention(q, k, v, mask, scale)


def attend_heads(
    cache: Cache | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offset: int,
    mask: Tensor | Ranges | str | None,
    scale: float,
    *,
    width: int,
    rope: tuple[Tensor, Tensor] | None,
) -> tuple[Cache | None, Tensor]:
    """As `reference.attend_heads`."""
    native = _compiled() if isinstance(mask, Ranges) else None
    if native is not None and cache is not None:
        y = native.attend(*cache, q, k, v, mask, scale, rope)
        if y is not None:
            return cache, y
    q, k, v = (split_heads(x, width) for x in (q, k, v))
    if rope is not None:
        q, k = rotate(q, rope), rotate(k, rope)
    if cache is None:
        if isinstance(mask, Ranges):
            return cache, merge_heads(reference.attend_among(q, k, v, mask, scale))
        return cache, merge_heads(attention(q, k, v, mask, scale))
    cache, y = attend(cache, q, k, v, offset, mask, scale)
    return cache, merge_heads(y)
