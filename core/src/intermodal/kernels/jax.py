"""The kernels in JAX. Traced under `jit`, where XLA fuses the conversions of narrow weights into the products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from intermodal.compiled import for_cpu
from intermodal.kernels import reference
from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.groups import in_groups
from intermodal.kernels.jax_product import product
from intermodal.kernels.largest import argmax
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.reference import (
    MASKED,
    Cache,
    Tensor,
    group_norm,
    inference,
    merge_heads,
    ranges,
    rotary_table,
    split_heads,
    without_groups,
)

__all__ = [
    "append",
    "argmax",
    "as_one",
    "attend",
    "attend_heads",
    "attention",
    "attention_mask",
    "capacity",
    "completed",
    "conv1d",
    "conv2d",
    "embedding",
    "fused",
    "gelu",
    "gelu_tanh",
    "group_norm",
    "grow",
    "inference",
    "layer_norm",
    "linears",
    "merge_heads",
    "new_cache",
    "offset_rms_norm",
    "prepare",
    "ranges",
    "relu",
    "rms_norm",
    "rotary_table",
    "rotate",
    "silu",
    "split_heads",
    "takes_ranges",
    "tanh",
]


def _compiled() -> Any | None:
    """Kernels compiled for this machine's CPU, where it is what computes."""
    return for_cpu("jax") if jax.default_backend() == "cpu" else None


def as_one(function: Callable[..., Any], static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """As `reference.as_one`."""
    return jax.jit(function, static_argnames=static)


def prepare(weight: Tensor, scale: Tensor | None, minimum: Tensor | None = None) -> Any:
    """As `reference.prepare`."""
    return None


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
    compiled = _compiled()
    if compiled is None or not compiled.supports(x, bundles, activation):
        return None
    return compiled.linears(x, bundles, norm, activation, residual, gated=gated)


def linears(x: Tensor, *bundles: Bundle) -> tuple[Tensor, ...]:
    """The linears alone, by the backend's own operators; see `products`."""
    return tuple(completed(x, _scaled_product(x, without_groups(w, x.dtype)), w) for w in bundles)


def _scaled_product(x: Tensor, w: Bundle) -> Tensor:
    """`x` times the transpose of what the weight stands for."""
    y = product(x, w.weight)
    return y if w.scale is None else y * w.scale[:, 0].astype(x.dtype)


def completed(x: Tensor, y: Tensor, w: Bundle) -> Tensor:
    """The product y of x, with the bias and the LoRA update; see `products`."""
    if w.bias is not None:
        y = y + w.bias.astype(x.dtype)
    if w.lora_a is not None:
        y = y + product(product(x, w.lora_a), w.lora_b) * jnp.asarray(w.lora_scale, x.dtype)
    return y


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    if in_groups(w.weight, w.scale, w.minimum):
        return reference.embedding(ids, w, dtype)
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


def conv1d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """As `reference.conv1d`."""
    y = lax.conv_general_dilated(
        x,
        w.weight.astype(x.dtype),
        (stride,),
        [(padding, padding)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NHC", "OIH", "NHC"),
        feature_group_count=x.shape[2] // w.weight.shape[1],
    )
    return y if w.bias is None else y + w.bias.astype(x.dtype)


def conv2d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0) -> Tensor:
    """As `reference.conv2d`."""
    y = lax.conv_general_dilated(
        x,
        w.weight.astype(x.dtype),
        (stride, stride),
        [(padding, padding), (padding, padding)],
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
        feature_group_count=x.shape[3] // w.weight.shape[1],
    )
    return y if w.bias is None else y + w.bias.astype(x.dtype)


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


class Reach(NamedTuple):
    """The mask of a window over a cache, and the keys that it reaches: `seen` (B or 1, 1, T, keys) from key `start`."""

    seen: Tensor
    start: Tensor


def attention_mask(
    valid: Tensor | None,
    queries: int,
    keys: int,
    offset: Any = 0,
    *,
    causal: bool = True,
    window: int | None = None,
    blocks: Tensor | None = None,
) -> Tensor | Reach | None:
    """As `reference.attention_mask`; where a causal window reaches part of the keys only, a `Reach`."""
    reached = None if window is None else window + queries - 1
    if not causal or reached is None or reached >= keys:
        return reference.attention_mask(valid, queries, keys, offset, causal=causal, window=window, blocks=blocks)
    start = jnp.clip(offset + queries - reached, 0, keys - reached)
    if valid is not None:
        valid = lax.dynamic_slice_in_dim(valid, start, reached, axis=1)
    seen = reference.attention_mask(valid, queries, reached, offset - start, window=window, blocks=blocks)
    return Reach(seen, start)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, bias: Tensor | None = None) -> Tensor:
    """As `reference.attention`; keys and values as given, or as `append` returns them."""
    batch, heads, length, width = q.shape
    cached = k.ndim == 3
    groups = k.shape[0] // batch if cached else k.shape[1]
    if isinstance(mask, Reach):
        reached = mask.seen.shape[-1]
        k = lax.dynamic_slice_in_dim(k, mask.start, reached, axis=2)
        v = lax.dynamic_slice_in_dim(v, mask.start, reached, axis=v.ndim - 2)
        bias = None if bias is None else lax.dynamic_slice_in_dim(bias, mask.start, reached, axis=3)
        mask = mask.seen
    shared = (batch, groups, heads // groups, length)
    if cached:
        q = q.reshape(batch * groups, heads // groups * length, width)
        scores = jnp.einsum("ntd,nds->nts", q, k, preferred_element_type=jnp.float32).reshape(*shared, -1)
    else:
        q = q.reshape(*shared, width)
        scores = jnp.einsum("bkgtd,bksd->bkgts", q, k, preferred_element_type=jnp.float32)
    scores = scores * scale
    if bias is not None:
        scores = scores + bias.astype(jnp.float32).reshape(-1, groups, heads // groups, *bias.shape[2:])
    if mask is not None:
        scores = jnp.where(mask[:, :, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    if cached:
        y = jnp.einsum("nts,nsd->ntd", weights.reshape(batch * groups, heads // groups * length, -1), v)
    else:
        y = jnp.einsum("bkgts,bksd->bkgtd", weights, v)
    return y.reshape(batch, heads, length, width)


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """An empty cache of one layer: keys (B·K, D, capacity), values (B·K, capacity, D).

    That is how products over a whole cache read it. In any other shape XLA copies it at every step: it puts the
    reshape or transpose that it needs into the update, which then is no longer done in place. Compiled kernels read it
    as the reference's, and only as far as it is written.
    """
    if dtype == "float32" and _compiled() is not None:
        return reference.new_cache(batch, heads, capacity, width, dtype)
    return jnp.zeros((batch * heads, width, capacity), dtype), jnp.zeros((batch * heads, capacity, width), dtype)


def append(cache: Cache, k: Tensor, v: Tensor, offset: Any) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`, for a cache as `new_cache` makes it; in place where it is donated or carried by a loop."""
    batch, heads, length, width = k.shape
    if cache[0].ndim == 4:
        at = (0, 0, offset, 0)
        cache = lax.dynamic_update_slice(cache[0], k, at), lax.dynamic_update_slice(cache[1], v, at)
        return cache, *cache
    k = jnp.swapaxes(k, 2, 3).reshape(batch * heads, width, length)
    v = v.reshape(batch * heads, length, width)
    cache = lax.dynamic_update_slice(cache[0], k, (0, 0, offset)), lax.dynamic_update_slice(cache[1], v, (0, offset, 0))
    return cache, *cache


def takes_ranges(cache: Cache | None) -> bool:
    """As `reference.takes_ranges`. Programs for several devices are XLA's alone, which tells masks by matrices."""
    fits = cache is None or (cache[0].ndim == 4 and cache[0].dtype == jnp.float32)
    return fits and _compiled() is not None and jax.device_count() == 1


def attend(cache: Cache, q: Tensor, k: Tensor, v: Tensor, offset: Any, mask: Any, scale: float) -> tuple[Cache, Tensor]:
    """As `reference.attend`."""
    if isinstance(mask, Ranges):
        width = q.shape[3]
        q, k, v = (merge_heads(x) for x in (q, k, v))
        cache, y = _attend_ranges(cache, q, k, v, mask, scale, width, None)
        return cache, split_heads(y, width)
    cache, k, v = append(cache, k, v, offset)
    return cache, attention(q, k, v, mask, scale)


def _attend_ranges(
    cache: Cache | None, q: Tensor, k: Tensor, v: Tensor, mask: Ranges, scale: float, width: int, rope: Any
) -> tuple[Any, Tensor]:
    """`attend_heads` where the mask is ranges."""
    compiled = _compiled()
    if compiled is not None and q.dtype == jnp.float32:
        return compiled.attend(cache, q, k, v, mask, scale, rope, width)
    return reference.attend_heads(cache, q, k, v, 0, mask, scale, width=width, rope=rope)


def attend_heads(
    cache: Cache | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offset: Any,
    mask: Any,
    scale: float,
    *,
    width: int,
    rope: tuple[Tensor, Tensor] | None,
) -> tuple[Cache | None, Tensor]:
    """As `reference.attend_heads`."""
    if isinstance(mask, Ranges):
        return _attend_ranges(cache, q, k, v, mask, scale, width, rope)
    q, k, v = (split_heads(x, width) for x in (q, k, v))
    if rope is not None:
        q, k = rotate(q, rope), rotate(k, rope)
    cache, y = (
        (cache, attention(q, k, v, mask, scale)) if cache is None else attend(cache, q, k, v, offset, mask, scale)
    )
    return cache, merge_heads(y)


def capacity(cache: Cache) -> int:
    """As `reference.capacity`."""
    return cache[1].shape[-2]


def grow(cache: Cache, capacity: int) -> Cache:
    """As `reference.grow`."""
    keys, values = cache
    if keys.ndim == 4:
        return reference.grow(cache, capacity)
    more = capacity - values.shape[1]
    return jnp.pad(keys, [(0, 0), (0, 0), (0, more)]), jnp.pad(values, [(0, 0), (0, more), (0, 0)])
