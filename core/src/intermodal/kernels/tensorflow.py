"""The kernels in TensorFlow. Compiled by XLA inside `tf.function(jit_compile=True)`, and right without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import tensorflow as tf

from intermodal.compiled import for_cpu
from intermodal.kernels import reference
from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.groups import in_groups
from intermodal.kernels.largest import argmax
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.reference import (
    MASKED,
    Cache,
    Tensor,
    as_one,
    group_norm,
    layer_norm,
    merge_heads,
    offset_rms_norm,
    ranges,
    rms_norm,
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


SMALL = 1 << 19
"""Elements of a matrix below which XLA multiplies it with a vector on one thread of a CPU."""


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`, x of any rank; the transpose is a flag of the operator."""
    outputs, inputs = weight.shape
    weight = tf.cast(weight, x.dtype)
    if x.shape.num_elements() == inputs and outputs * inputs < SMALL and outputs % 2 == 0:
        # Two halves are a batch, and XLA computes the parts of a batch side by side.
        pair = tf.broadcast_to(tf.reshape(x, (1, 1, inputs)), (2, 1, inputs))
        flat = tf.matmul(pair, tf.reshape(weight, (2, outputs // 2, inputs)), transpose_b=True)
        return tf.reshape(flat, (*x.shape[:-1], outputs))
    flat = tf.matmul(tf.reshape(x, (-1, inputs)), weight, transpose_b=True)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [outputs]], axis=0))


_traced_for_inference = ContextVar("traced_for_inference", default=False)


@contextmanager
def inference() -> Iterator[None]:
    """As `reference.inference`, for programs of XLA.

    Compiled kernels serve these only: TensorFlow knows no derivative of what they are called by, and a program that
    calls them runs nowhere else.
    """
    token = _traced_for_inference.set(True)
    try:
        yield
    finally:
        _traced_for_inference.reset(token)


def compiled() -> Any | None:
    """Kernels compiled for this machine's CPU, where it is what computes."""
    return None if tf.config.list_logical_devices("GPU") else for_cpu("tensorflow")


def _compiled_here() -> Any | None:
    return compiled() if _traced_for_inference.get() else None


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
    compiled = _compiled_here()
    if compiled is None or not compiled.supports(x, bundles, activation):
        return None
    return compiled.linears(x, bundles, norm, activation, residual, gated=gated)


def linears(x: Tensor, *bundles: Bundle) -> tuple[Tensor, ...]:
    """The linears alone, by the backend's own operators; see `products`."""
    return tuple(completed(x, _scaled_product(x, without_groups(w, x.dtype)), w) for w in bundles)


def _scaled_product(x: Tensor, w: Bundle) -> Tensor:
    """`x` times the transpose of what the weight stands for."""
    y = tf.ensure_shape(_product(x, w.weight), (*x.shape[:-1], w.weight.shape[0]))
    return y if w.scale is None else y * tf.cast(w.scale[:, 0], x.dtype)


def completed(x: Tensor, y: Tensor, w: Bundle) -> Tensor:
    """The product y of x, with the bias and the LoRA update; see `products`."""
    if w.bias is not None:
        y = y + tf.cast(w.bias, x.dtype)
    if w.lora_a is not None:
        y = y + _product(_product(x, w.lora_a), w.lora_b) * tf.cast(w.lora_scale, x.dtype)
    return y


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    if in_groups(w.weight, w.scale, w.minimum):
        return reference.embedding(ids, w, dtype)
    # Of a variable that rows are gathered from TensorFlow makes a copy, and another whenever it is read from then on.
    rows = tf.cast(tf.gather(tf.convert_to_tensor(w.weight), ids), dtype)
    return rows if w.scale is None else rows * tf.cast(tf.gather(w.scale, ids), dtype)


def conv1d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """As `reference.conv1d`."""
    x = tf.pad(x, [(0, 0), (padding, padding), (0, 0)]) if padding else x
    kernel = tf.transpose(tf.cast(w.weight, x.dtype), (2, 1, 0))
    y = tf.nn.conv1d(x, kernel, stride, "VALID", dilations=dilation)
    return y if w.bias is None else y + tf.cast(w.bias, x.dtype)


def conv2d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0) -> Tensor:
    """As `reference.conv2d`. Keras compiles a convolution in groups at every call; the operator itself knows them."""
    kernel = tf.transpose(tf.cast(w.weight, x.dtype), (2, 3, 1, 0))
    x = tf.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)]) if padding else x
    y = tf.nn.conv2d(x, kernel, stride, "VALID")
    return y if w.bias is None else y + tf.cast(w.bias, x.dtype)


def silu(x: Tensor) -> Tensor:
    """As `reference.silu`. `tf.nn.silu` registers a gradient for good in every graph, and with it holds the weights."""
    return x * tf.sigmoid(x)


def gelu(x: Tensor) -> Tensor:
    """As `reference.gelu`."""
    return tf.nn.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """As `reference.gelu_tanh`."""
    return tf.nn.gelu(x, approximate=True)


def relu(x: Tensor) -> Tensor:
    """As `reference.relu`."""
    return tf.nn.relu(x)


def tanh(x: Tensor) -> Tensor:
    """As `reference.tanh`."""
    return tf.tanh(x)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """As `reference.rotate`."""
    cos, sin = table
    a, b = tf.split(x, 2, axis=-1)
    return tf.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)


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
    counted = isinstance(queries, int) and isinstance(keys, int)  # both are tensors where Keras leaves the length open
    reached = window + queries - 1 if counted and window is not None and causal else None
    if reached is None or reached >= keys:
        return reference.attention_mask(valid, queries, keys, offset, causal=causal, window=window, blocks=blocks)
    start = tf.clip_by_value(tf.cast(offset, tf.int32) + queries - reached, 0, keys - reached)
    if valid is not None:
        valid = tf.slice(valid, [0, start], [valid.shape[0], reached])
    seen = reference.attention_mask(valid, queries, reached, offset - start, window=window, blocks=blocks)
    return Reach(seen, start)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, bias: Tensor | None = None) -> Tensor:
    """As `reference.attention`; keys and values as given, or as `append` returns them."""
    if k.shape.rank == 3:
        return _cached_attention(q, k, v, mask, scale, bias)
    shape = tf.shape(q)
    groups, heads = k.shape[1], q.shape[1]
    if isinstance(mask, Reach):
        reached = mask.seen.shape[-1]
        k, v = (tf.slice(x, [0, 0, mask.start, 0], [-1, -1, reached, -1]) for x in (k, v))
        bias = None if bias is None else tf.slice(bias, [0, 0, 0, mask.start], [-1, -1, -1, reached])
        mask = mask.seen
    q = tf.reshape(q, (shape[0], groups, heads // groups, shape[2], q.shape[3]))
    scores = tf.cast(tf.einsum("bkgtd,bksd->bkgts", q, k), tf.float32) * scale
    if bias is not None:
        of_keys = tf.shape(bias)[2:]
        scores = scores + tf.reshape(tf.cast(bias, tf.float32), (-1, groups, heads // groups, of_keys[0], of_keys[1]))
    if mask is not None:
        scores = tf.where(mask[:, :, None], scores, MASKED)
    weights = tf.cast(tf.nn.softmax(scores, axis=-1), v.dtype)
    return tf.reshape(tf.einsum("bkgts,bksd->bkgtd", weights, v), shape)


def _cached_attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, bias: Tensor | None) -> Tensor:
    batch, heads, length, width = q.shape
    groups = k.shape[0] // batch
    if isinstance(mask, Reach):
        reached = mask.seen.shape[-1]
        k, v = tf.slice(k, [0, 0, mask.start], [-1, -1, reached]), tf.slice(v, [0, mask.start, 0], [-1, reached, -1])
        bias = None if bias is None else tf.slice(bias, [0, 0, 0, mask.start], [-1, -1, -1, reached])
        mask = mask.seen
    scores = tf.matmul(tf.reshape(q, (batch * groups, heads // groups * length, width)), k)
    scores = tf.cast(tf.reshape(scores, (batch, groups, heads // groups, length, -1)), tf.float32) * scale
    if bias is not None:
        scores = scores + tf.reshape(tf.cast(bias, tf.float32), (-1, groups, heads // groups, *bias.shape[2:]))
    if mask is not None:
        scores = tf.where(mask[:, :, None], scores, MASKED)
    weights = tf.cast(tf.nn.softmax(scores, axis=-1), v.dtype)
    y = tf.matmul(tf.reshape(weights, (batch * groups, heads // groups * length, -1)), v)
    return tf.reshape(y, q.shape)


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """An empty cache of one layer: keys (B·K, D, capacity), values (B·K, capacity, D), as products read them.

    Compiled kernels read it as the reference's, and only as far as it is written.
    """
    if dtype == "float32" and compiled() is not None:
        return reference.new_cache(batch, heads, capacity, width, dtype)
    return tf.zeros((batch * heads, width, capacity), dtype), tf.zeros((batch * heads, capacity, width), dtype)


def append(cache: Cache, k: Tensor, v: Tensor, offset: Any) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`, for a cache as `new_cache` makes it; XLA does it in place where a loop carries it."""
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice  # pyright: ignore[reportMissingImports]

    batch, heads, length, width = k.shape
    at = tf.cast(offset, tf.int32)
    if cache[0].shape.rank == 4:
        index = tf.stack([0, 0, at, 0])
        cache = dynamic_update_slice(cache[0], k, index), dynamic_update_slice(cache[1], v, index)
        return cache, *cache
    k = tf.reshape(tf.transpose(k, (0, 1, 3, 2)), (batch * heads, width, length))
    v = tf.reshape(v, (batch * heads, length, width))
    keys = dynamic_update_slice(cache[0], k, tf.stack([0, 0, at]))
    values = dynamic_update_slice(cache[1], v, tf.stack([0, at, 0]))
    return (keys, values), keys, values


def capacity(cache: Cache) -> int:
    """As `reference.capacity`."""
    return cache[1].shape[-2]


def grow(cache: Cache, capacity: int) -> Cache:
    """As `reference.grow`; of variables it is new variables."""
    keys, values = cache
    if isinstance(keys, tf.Variable):
        grown = grow((tf.convert_to_tensor(keys), tf.convert_to_tensor(values)), capacity)
        return tf.Variable(grown[0], trainable=False), tf.Variable(grown[1], trainable=False)
    if keys.shape.rank == 4:
        return reference.grow(cache, capacity)
    more = capacity - values.shape[1]
    return tf.pad(keys, [(0, 0), (0, 0), (0, more)]), tf.pad(values, [(0, 0), (0, more), (0, 0)])


def takes_ranges(cache: Cache | None) -> bool:
    """As `reference.takes_ranges`."""
    fits = cache is None or (cache[0].shape.rank == 4 and cache[0].dtype == tf.float32)
    return fits and _compiled_here() is not None


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
    compiled = _compiled_here()
    if compiled is not None and q.dtype == tf.float32:
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
