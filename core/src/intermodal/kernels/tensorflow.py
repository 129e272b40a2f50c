"""The kernels in TensorFlow. Compiled by XLA inside `tf.function(jit_compile=True)`, and right without it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from intermodal.kernels.bundle import Bundle
from intermodal.kernels.reference import (
    MASKED,
    Cache,
    Tensor,
    as_one,
    attention_mask,
    capacity,
    group_norm,
    grow,
    layer_norm,
    merge_heads,
    offset_rms_norm,
    rms_norm,
    rotary_table,
    split_heads,
)

__all__ = [
    "append",
    "as_one",
    "attend",
    "attend_heads",
    "attention",
    "attention_mask",
    "capacity",
    "conv1d",
    "conv2d",
    "embedding",
    "gated",
    "gelu",
    "gelu_tanh",
    "group_norm",
    "grow",
    "layer_norm",
    "linear",
    "linears",
    "merge_heads",
    "new_cache",
    "offset_rms_norm",
    "prepare",
    "relu",
    "rms_norm",
    "rotary_table",
    "rotate",
    "silu",
    "split_heads",
    "tanh",
]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`, x of any rank; the transpose is a flag of the operator."""
    weight = tf.cast(weight, x.dtype)
    flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), weight, transpose_b=True)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [tf.shape(weight)[0]]], axis=0))


def prepare(weight: Tensor, scale: Tensor | None) -> Any:
    """As `reference.prepare`."""
    return None


def linear(x: Tensor, w: Bundle) -> Tensor:
    """As `reference.linear`."""
    y = _product(x, w.weight)
    y = tf.ensure_shape(y, (*x.shape[:-1], w.weight.shape[0]))
    if w.scale is not None:
        y = y * tf.cast(w.scale[:, 0], x.dtype)
    if w.bias is not None:
        y = y + tf.cast(w.bias, x.dtype)
    if w.lora_a is not None:
        y = y + _product(_product(x, w.lora_a), w.lora_b) * tf.cast(w.lora_scale, x.dtype)
    return y


def linears(x: Tensor, *bundles: Bundle) -> tuple[Tensor, ...]:
    """As `reference.linears`."""
    return tuple(linear(x, w) for w in bundles)


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """As `reference.embedding`."""
    rows = tf.cast(tf.gather(w.weight, ids), dtype)
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
    """As `reference.silu`."""
    return tf.nn.silu(x)


def gelu(x: Tensor) -> Tensor:
    """As `reference.gelu`."""
    return tf.nn.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """As `reference.gelu_tanh`."""
    return tf.nn.gelu(x, approximate=True)


def relu(x: Tensor) -> Tensor:
    """As `reference.relu`."""
    return tf.nn.relu(x)


def gated(activation: str, gate: Tensor, up: Tensor) -> Tensor:
    """As `reference.gated`."""
    return {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu}[activation](gate) * up


def tanh(x: Tensor) -> Tensor:
    """As `reference.tanh`."""
    return tf.tanh(x)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """As `reference.rotate`."""
    cos, sin = table
    a, b = tf.split(x, 2, axis=-1)
    return tf.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, bias: Tensor | None = None) -> Tensor:
    """As `reference.attention`."""
    shape = tf.shape(q)
    groups, heads = k.shape[1], q.shape[1]
    q = tf.reshape(q, (shape[0], groups, heads // groups, shape[2], q.shape[3]))
    scores = tf.cast(tf.einsum("bkgtd,bksd->bkgts", q, k), tf.float32) * scale
    if bias is not None:
        of_keys = tf.shape(bias)[2:]
        scores = scores + tf.reshape(tf.cast(bias, tf.float32), (-1, groups, heads // groups, of_keys[0], of_keys[1]))
    if mask is not None:
        scores = tf.where(mask[:, :, None], scores, MASKED)
    weights = tf.cast(tf.nn.softmax(scores, axis=-1), v.dtype)
    return tf.reshape(tf.einsum("bkgts,bksd->bkgtd", weights, v), shape)


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """As `reference.new_cache`."""
    shape = (batch, heads, capacity, width)
    return tf.zeros(shape, dtype), tf.zeros(shape, dtype)


def append(cache: Cache, k: Tensor, v: Tensor, offset: Any) -> tuple[Cache, Tensor, Tensor]:
    """As `reference.append`; XLA does it in place where the cache is carried by a loop."""
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice  # pyright: ignore[reportMissingImports]

    at = tf.stack([0, 0, tf.cast(offset, tf.int32), 0])
    cache = dynamic_update_slice(cache[0], k, at), dynamic_update_slice(cache[1], v, at)
    return cache, *cache


def attend(cache: Cache, q: Tensor, k: Tensor, v: Tensor, offset: Any, mask: Any, scale: float) -> tuple[Cache, Tensor]:
    """As `reference.attend`."""
    cache, k, v = append(cache, k, v, offset)
    return cache, attention(q, k, v, mask, scale)


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
    q, k, v = (split_heads(x, width) for x in (q, k, v))
    if rope is not None:
        q, k = rotate(q, rope), rotate(k, rope)
    cache, y = (
        (cache, attention(q, k, v, mask, scale)) if cache is None else attend(cache, q, k, v, offset, mask, scale)
    )
    return cache, merge_heads(y)
