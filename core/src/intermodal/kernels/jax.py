"""The kernels in JAX. Traced under `jit`, where XLA fuses the conversions of narrow weights into the products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from intermodal.kernels.bundle import Bundle
from intermodal.kernels.reference import MASKED, Cache, Tensor, attention_mask, merge_heads, rotary_table, split_heads

__all__ = [
    "append",
    "attention",
    "attention_mask",
    "embedding",
    "gelu",
    "gelu_tanh",
    "layer_norm",
    "linear",
    "merge_heads",
    "new_cache",
    "offset_rms_norm",
    "relu",
    "rms_norm",
    "rotary_table",
    "rotate",
    "silu",
    "split_heads",
    "tanh",
]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` without writing the transpose down."""
    return lax.dot_general(x, weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))


def linear(x: Tensor, w: Bundle) -> Tensor:
    """As `reference.linear`."""
    y = _product(x, w.weight)
    if w.scale is not None:
        y = y * w.scale[:, 0].astype(x.dtype)
    if w.bias is not None:
        y = y + w.bias.astype(x.dtype)
    if w.lora_a is not None:
        y = y + _product(_product(x, w.lora_a), w.lora_b) * jnp.asarray(w.lora_scale, x.dtype)
    return y


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    rows = w.weight[ids].astype(dtype)
    return rows if w.scale is None else rows * w.scale[ids].astype(dtype)


def rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.rms_norm`."""
    wide = x.astype(jnp.float32)
    scale = lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return w.weight.astype(x.dtype) * (wide * scale).astype(x.dtype)


def offset_rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.offset_rms_norm`."""
    wide = x.astype(jnp.float32)
    scale = lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return (wide * scale * (1.0 + w.weight.astype(jnp.float32))).astype(x.dtype)


def layer_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """As `reference.layer_norm`."""
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    scale = lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + epsilon)
    return (centred * scale * w.weight.astype(jnp.float32) + w.bias.astype(jnp.float32)).astype(x.dtype)


def silu(x: Tensor) -> Tensor:
    """As `reference.silu`."""
    return jax.nn.silu(x)


def gelu(x: Tensor) -> Tensor:
    """As `reference.gelu`."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: Tensor) -> Tensor:
    """As `reference.gelu_tanh`."""
    return jax.nn.gelu(x, approximate=True)


def relu(x: Tensor) -> Tensor:
    """As `reference.relu`."""
    return jax.nn.relu(x)


def tanh(x: Tensor) -> Tensor:
    """As `reference.tanh`."""
    return jnp.tanh(x)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """As `reference.rotate`."""
    cos, sin = table
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float) -> Tensor:
    """As `reference.attention`."""
    batch, heads, length, width = q.shape
    groups = k.shape[1]
    q = q.reshape(batch, groups, heads // groups, length, width)
    scores = jnp.einsum("bkgtd,bksd->bkgts", q, k, preferred_element_type=jnp.float32) * scale
    if mask is not None:
        scores = jnp.where(mask[:, :, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bksd->bkgtd", weights, v).reshape(batch, heads, length, width)


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """As `reference.new_cache`."""
    shape = (batch, heads, capacity, width)
    return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)


def append(cache: Cache, k: Tensor, v: Tensor, offset: Any) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`; in place where the cache is donated or carried by a loop."""
    at = (0, 0, offset, 0)
    cache = lax.dynamic_update_slice(cache[0], k, at), lax.dynamic_update_slice(cache[1], v, at)
    return cache, *cache
