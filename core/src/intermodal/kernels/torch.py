"""The kernels in PyTorch: fused operators, and a cache that is written in place."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from intermodal.kernels.bundle import Bundle

Cache = tuple[Tensor, Tensor]

CAUSAL = "causal"
"""A mask that `attention` hands to the fused operator as a flag instead of a matrix."""


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name)


def _cast(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor if tensor.dtype == like.dtype else tensor.to(like.dtype)


def linear(x: Tensor, w: Bundle) -> Tensor:
    """As `reference.linear`."""
    weight = _cast(w.weight, x)
    if w.scale is not None:
        y = F.linear(x, weight) * _cast(w.scale[:, 0], x)
        y = y if w.bias is None else y + _cast(w.bias, x)
    else:
        y = F.linear(x, weight, None if w.bias is None else _cast(w.bias, x))
    if w.lora_a is not None:
        y = y + F.linear(F.linear(x, _cast(w.lora_a, x)), _cast(w.lora_b, x)) * w.lora_scale
    return y


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    rows = F.embedding(ids, w.weight).to(_dtype(dtype))
    return rows if w.scale is None else rows * w.scale[ids].to(rows.dtype)


def rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.rms_norm`."""
    if x.dtype == torch.float32:
        return F.rms_norm(x, w.weight.shape, _cast(w.weight, x), epsilon)
    return _cast(w.weight, x) * F.rms_norm(x.float(), w.weight.shape, None, epsilon).to(x.dtype)


def offset_rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.offset_rms_norm`."""
    return F.rms_norm(x.float(), w.weight.shape, 1.0 + w.weight.float(), epsilon).to(x.dtype)


def layer_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.layer_norm`."""
    return F.layer_norm(x.float(), w.weight.shape, w.weight.float(), w.bias.float(), epsilon).to(x.dtype)


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


def tanh(x: Tensor) -> Tensor:
    """As `reference.tanh`."""
    return torch.tanh(x)


def rotary_table(positions: Tensor, frequencies: Any, factor: float, dtype: str) -> tuple[Tensor, Tensor]:
    """As `reference.rotary_table`."""
    table = torch.as_tensor(frequencies, dtype=torch.float32, device=positions.device)
    angles = positions.to(torch.float32)[:, None, :, None] * table
    return (angles.cos() * factor).to(_dtype(dtype)), (angles.sin() * factor).to(_dtype(dtype))


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """As `reference.rotate`."""
    cos, sin = table
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def split_heads(x: Tensor, width: int) -> Tensor:
    """As `reference.split_heads`, a view."""
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


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
    """As `reference.attention_mask`; where no matrix is needed, none is made."""
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
    return mask if valid is None else mask & valid[:, None, None, :keys].bool()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | str | None, scale: float) -> Tensor:
    """As `reference.attention`, by the fused operator."""
    grouped = q.shape[1] != k.shape[1]
    if isinstance(mask, str):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    if mask is not None:
        if mask.device != q.device:
            mask = mask.to(q.device)
        # A query that sees nothing (padding) would be NaN: let it see everything; nobody looks at it.
        mask = mask | ~mask.any(dim=-1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """As `reference.new_cache`, on the device that Keras' scope names."""
    from keras.src.backend.torch.core import get_device

    shape = (batch, heads, capacity, width)
    options = {"dtype": _dtype(dtype), "device": get_device()}
    return torch.zeros(shape, **options), torch.zeros(shape, **options)


def append(cache: Cache, k: Tensor, v: Tensor, offset: int) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`, in place; only what is written so far is attended to."""
    end = offset + k.shape[2]
    cache[0][:, :, offset:end] = k
    cache[1][:, :, offset:end] = v
    return cache, cache[0][:, :, :end], cache[1][:, :, :end]
