"""The kernels in plain `keras.ops`: what they mean. Every native module is tested against this one.

Shapes: batch B, query length T, key length S, heads N, key-value heads K (N is a multiple of K), head width D.
Activations are in the compute dtype; weights may be stored in another, and are brought to the activation's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.groups import in_groups, widen_groups
from intermodal.kernels.ops import ops
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.ranges import ranges as ranges

Tensor = Any
Cache = tuple[Tensor, Tensor]

MASKED = -1e30  # added to scores that may not be seen; finite, so that a row with nothing to see gives no NaN


def prepare(weight: Tensor, scale: Tensor | None, minimum: Tensor | None = None) -> Any:
    """What compiled kernels keep of a weight and its scale, as `Bundle.prepared`; None where there are none."""
    return None


def as_one(function: Callable[..., Any], static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """A pure function of tensors, to be computed as one where the backend else compiles each operation by itself.

    Args:
        function: of tensors and trees of them.
        static: names of its other arguments, which have to be hashable and are passed by name.
    """
    return function


def inference() -> AbstractContextManager[None]:
    """A scope in which to trace a program that is compiled as a whole, and of which nobody asks a derivative or a copy.

    Only where a backend has to be told does it change what kernels do.
    """
    return nullcontext()


def linear(
    x: Tensor, w: Bundle, *, norm: Norm | None = None, activation: str | None = None, residual: Tensor | None = None
) -> Tensor:
    """As `products.linear`: `residual + activation(norm(x) @ weight.T + bias)`. x (…, in) → (…, out)."""
    y = _linear(_normed(x, norm), w)
    y = y if activation is None else _activated(activation, y)
    return y if residual is None else residual + y


def _linear(x: Tensor, w: Bundle) -> Tensor:
    w = without_groups(w, x.dtype)
    y = ops.matmul(x, ops.transpose(ops.cast(w.weight, x.dtype)))
    if w.scale is not None:
        y = y * ops.cast(w.scale[:, 0], x.dtype)
    if w.bias is not None:
        y = y + ops.cast(w.bias, x.dtype)
    if w.lora_a is not None:
        update = ops.matmul(x, ops.transpose(ops.cast(w.lora_a, x.dtype)))
        y = y + ops.matmul(update, ops.transpose(ops.cast(w.lora_b, x.dtype))) * ops.cast(w.lora_scale, x.dtype)
    return y


def without_groups(w: Bundle, dtype: Any) -> Bundle:
    """The bundle of the values that a weight in groups stands for; any other as it is."""
    if not in_groups(w.weight, w.scale, w.minimum):
        return w
    return w._replace(weight=widen_groups(w.weight, w.scale, w.minimum, dtype), scale=None, minimum=None)


def linears(x: Tensor, *bundles: Bundle, norm: Norm | None = None) -> tuple[Tensor, ...]:
    """As `products.linears`."""
    return tuple(linear(x, w, norm=norm) for w in bundles)


def gated_linear(x: Tensor, gate: Bundle, up: Bundle, activation: str, *, norm: Norm | None = None) -> Tensor:
    """As `products.gated_linear`."""
    return linear(x, gate, norm=norm, activation=activation) * linear(x, up, norm=norm)


def _normed(x: Tensor, norm: Norm | None) -> Tensor:
    if norm is None:
        return x
    return (offset_rms_norm if norm.offset else rms_norm)(x, norm.w, norm.epsilon)


def embedding(ids: Tensor, w: Bundle, dtype: str) -> Tensor:
    """Rows of the table. ids (B, T) integers → (B, T, width) in `dtype`."""
    rows = ops.take(w.weight, ids, axis=0)
    if in_groups(w.weight, w.scale, w.minimum):
        minimum = None if w.minimum is None else ops.take(w.minimum, ids, axis=0)
        return widen_groups(rows, ops.take(w.scale, ids, axis=0), minimum, dtype)
    rows = ops.cast(rows, dtype)
    if w.scale is not None:
        rows = rows * ops.cast(ops.take(w.scale, ids, axis=0), dtype)
    return rows


def rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """Root-mean-square norm: statistics in float32, cast to x's dtype, then times weight (arXiv:1910.07467).

    The order shows in bfloat16; it is that of the reference implementation of these models.
    """
    wide = ops.cast(x, "float32")
    scale = ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    return ops.cast(w.weight, x.dtype) * ops.cast(wide * scale, x.dtype)


def offset_rms_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """Root-mean-square norm times `1 + weight`, in float32 throughout: a weight of zeros changes nothing.

    Unlike in `rms_norm`, the cast to x's dtype comes last. The order shows in bfloat16.
    """
    wide = ops.cast(x, "float32")
    scale = ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    return ops.cast(wide * scale * (1.0 + ops.cast(w.weight, "float32")), x.dtype)


def layer_norm(x: Tensor, w: Bundle, epsilon: float) -> Tensor:
    """Layer norm with weight and bias, in float32 throughout (arXiv:1607.06450)."""
    wide = ops.cast(x, "float32")
    centred = wide - ops.mean(wide, axis=-1, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + epsilon)
    y = centred * scale * ops.cast(w.weight, "float32") + ops.cast(w.bias, "float32")
    return ops.cast(y, x.dtype)


def group_norm(x: Tensor, w: Bundle, groups: int, epsilon: float) -> Tensor:
    """Group norm of sequences, in float32: over time and the channels of a group (arXiv:1803.08494). x (B, T, C)."""
    batch, length, channels = ops.shape(x)[0], ops.shape(x)[1], x.shape[2]
    wide = ops.reshape(ops.cast(x, "float32"), (batch, length, groups, channels // groups))
    centred = wide - ops.mean(wide, axis=(1, 3), keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=(1, 3), keepdims=True) + epsilon)
    y = ops.reshape(centred * scale, (batch, length, channels))
    return ops.cast(y * ops.cast(w.weight, "float32") + ops.cast(w.bias, "float32"), x.dtype)


def conv1d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """Convolution of sequences, x (B, T, in) → (B, T', out), with the weight as checkpoints have it: (out, in/G, K).

    The channels are in G groups, each convolved apart. `padding` zeros stand on both sides, and the taps of the kernel
    are `dilation` apart: T' = (T + 2 padding - dilation (K - 1) - 1) // stride + 1. Either stride or dilation is 1,
    since TensorFlow has no convolution with both.
    """
    if padding:
        x = ops.pad(x, [(0, 0), (padding, padding), (0, 0)])
    kernel = ops.transpose(ops.cast(w.weight, x.dtype), (2, 1, 0))
    y = ops.conv(x, kernel, stride, "valid", data_format="channels_last", dilation_rate=dilation)
    return y if w.bias is None else y + ops.cast(w.bias, x.dtype)


def conv2d(x: Tensor, w: Bundle, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution of images, x (B, H, W, in) → (B, H', W', out), the weight as checkpoints have it: (out, in/G, K, L).

    The channels are in G groups, each convolved apart. Stride and padding, zeros on all four sides, are those of both
    axes: H' = (H + 2 padding - K) // stride + 1.
    """
    if padding:
        x = ops.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    kernel = ops.transpose(ops.cast(w.weight, x.dtype), (2, 3, 1, 0))
    y = ops.conv(x, kernel, stride, "valid", data_format="channels_last")
    return y if w.bias is None else y + ops.cast(w.bias, x.dtype)


def silu(x: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    return ops.silu(x)


def gelu(x: Tensor) -> Tensor:
    """`x * Φ(x)`, Φ the normal distribution: the exact form, by the error function (arXiv:1606.08415)."""
    return ops.gelu(x, approximate=False)


def gelu_tanh(x: Tensor) -> Tensor:
    """Its approximation `0.5x (1 + tanh(√(2/π) (x + 0.044715x³)))`, which differs by up to 5e-4 (arXiv:1606.08415)."""
    return ops.gelu(x, approximate=True)


def relu(x: Tensor) -> Tensor:
    """`max(x, 0)`."""
    return ops.relu(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return ops.tanh(x)


def argmax(x: Tensor) -> Tensor:
    """Index of the largest, the first of several. x (B, V) → (B,) int32."""
    return ops.cast(ops.argmax(x, axis=-1), "int32")


def _activated(name: str, x: Tensor) -> Tensor:
    functions = {"gelu": gelu, "gelu_pytorch_tanh": gelu_tanh, "relu": relu, "silu": silu, "tanh": tanh}
    return functions[name](x)


def rotary_table(positions: Tensor, frequencies: Tensor, factor: float, dtype: str) -> tuple[Tensor, Tensor]:
    """cos and sin of each position's angles, times `factor` (yarn's attention factor). (B, T) → (B, 1, T, D/2).

    Computed in float32, because bfloat16 cannot tell neighbouring positions apart.
    """
    angles = ops.cast(positions, "float32")[:, None, :, None] * ops.cast(frequencies, "float32")
    return ops.cast(ops.cos(angles) * factor, dtype), ops.cast(ops.sin(angles) * factor, dtype)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding (arXiv:2104.09864), first half of each head paired with the second. x (B, N, T, D)."""
    cos, sin = table
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def split_heads(x: Tensor, width: int) -> Tensor:
    """(B, T, N·D) → (B, N, T, D)."""
    batch, length = ops.shape(x)[:2]
    return ops.transpose(ops.reshape(x, (batch, length, x.shape[-1] // width, width)), (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Tensor:
    """(B, N, T, D) → (B, T, N·D)."""
    batch, length = ops.shape(x)[0], ops.shape(x)[2]
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, x.shape[1] * x.shape[3]))


def attention_mask(
    valid: Tensor | None,
    queries: int,
    keys: int,
    offset: Any = 0,
    *,
    causal: bool = True,
    window: int | None = None,
    blocks: Tensor | None = None,
) -> Tensor | None:
    """Who may look at whom: True where a query sees a key. Broadcasts to (B, N, T, S); None when all see all.

    Args:
        valid: (B, S) whether a key is text (not padding); None when all are.
        queries: T; the first query stands at key `offset`.
        keys: S.
        causal: no query sees a later key.
        window: a query sees itself, the `window - 1` keys before it and, unless causal, as many after it.
        blocks: (B, T) numbers of blocks, -1 for none, of queries that stand at key 0: those of one block also see the
            later ones of it, however far. Only where the mask is causal.
    """
    mask = None
    if causal or window is not None:
        row = ops.arange(queries)[:, None] + offset
        column = ops.arange(keys)[None, :]
        seen = column <= row if causal else ops.ones((queries, keys), dtype="bool")
        if blocks is not None:
            seen = ops.logical_or(seen, same_block(blocks, keys))
        if window is not None:
            distance = row - column if causal else ops.abs(row - column)
            seen = ops.logical_and(seen, distance < window)
        mask = seen[None, None] if blocks is None else seen[:, None]
    if valid is not None:
        text = ops.cast(valid, "bool")[:, None, None, :]
        mask = text if mask is None else ops.logical_and(mask, text)
    return mask


def same_block(blocks: Tensor, keys: int) -> Tensor:
    """Whether a query and a key are of one block: blocks (B, T) → (B, T, keys), false for keys beyond T."""
    known = blocks.shape[1]  # None where the backend leaves it open, and then there is no cache
    of_keys = blocks
    if known is not None and known != keys:
        of_keys = ops.pad(blocks, [(0, 0), (0, keys - known)], constant_values=-1)
    return ops.logical_and(blocks[:, :, None] == of_keys[:, None, :], blocks[:, :, None] >= 0)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, bias: Tensor | None = None) -> Tensor:
    """Grouped-query attention: softmax in float32. q (B, N, T, D), k and v (B, K, S, D) → (B, N, T, D).

    `bias` (B or 1, N, T, S) is added to the scaled scores, for positions that enter by their distance.

    Keys and values are not repeated to all heads (arXiv:2305.13245): each serves its group of N/K queries.
    """
    batch, heads, length, width = ops.shape(q)[0], q.shape[1], ops.shape(q)[2], q.shape[3]
    groups = k.shape[1]
    q = ops.reshape(q, (batch, groups, heads // groups, length, width))
    scores = ops.cast(ops.einsum("bkgtd,bksd->bkgts", q, k), "float32") * scale
    if bias is not None:
        scores = scores + ops.reshape(ops.cast(bias, "float32"), (-1, groups, heads // groups, *ops.shape(bias)[2:]))
    if mask is not None:
        scores = ops.where(mask[:, :, None], scores, MASKED)
    weights = ops.cast(ops.softmax(scores, axis=-1), v.dtype)
    return ops.reshape(ops.einsum("bkgts,bksd->bkgtd", weights, v), (batch, heads, length, width))


def new_cache(batch: int, heads: int, capacity: int, width: int, dtype: str) -> Cache:
    """An empty cache of one layer: keys and values, each (B, K, capacity, D)."""
    shape = (batch, heads, capacity, width)
    return ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype=dtype)


def append(cache: Cache, k: Tensor, v: Tensor, offset: Any) -> tuple[Cache, Tensor, Tensor]:
    """Write new keys and values at `offset`; return the cache and the keys and values to attend to.

    Those may be the whole capacity: `attention_mask` keeps what is not written yet out of sight.
    """
    at = (0, 0, offset, 0)
    cache = ops.slice_update(cache[0], at, k), ops.slice_update(cache[1], at, v)
    return cache, *cache


def takes_ranges(cache: Cache | None) -> bool:
    """Whether attention is best told by `Ranges` what is seen: compiled kernels read this cache, and no more of it.

    None asks for float32 tokens that attend to each other, without a cache.
    """
    return False


def attend(cache: Cache, q: Tensor, k: Tensor, v: Tensor, offset: Any, mask: Any, scale: float) -> tuple[Cache, Tensor]:
    """`append`, and `attention` to what it returns; or `attend_ranges` where the mask is `Ranges`."""
    if isinstance(mask, Ranges):
        return attend_ranges(cache, q, k, v, mask, scale)
    cache, k, v = append(cache, k, v, offset)
    return cache, attention(q, k, v, mask, scale)


def attend_ranges(cache: Cache, q: Tensor, k: Tensor, v: Tensor, ranges: Ranges, scale: float) -> tuple[Cache, Tensor]:
    """Write each token's key and value to its place in the cache, and attend to the keys that it sees.

    q (A, N, T, D), k and v (A, K, T, D) of A · T tokens in all → (A, N, T, D). The cache is (B, K, C, D).
    """
    lead, length, (batch, _, capacity, _) = ops.shape(q)[0], ops.shape(q)[2], ops.shape(cache[0])
    slots = ops.cast(ranges.slots, "int32")
    rows = ops.repeat(ops.arange(batch, dtype="int32"), lead * length // batch) if ranges.rows is None else ranges.rows
    q, k, v = (ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, x.shape[1], 1, x.shape[3])) for x in (q, k, v))
    key = ops.arange(capacity, dtype="int32")
    of_row, at_slot = rows == ops.arange(batch, dtype="int32")[:, None], slots == key[:, None]
    here = ops.logical_and(of_row[:, None], at_slot[None])  # (B, C, tokens)
    is_new, chosen = ops.any(here, axis=-1)[:, None, :, None], ops.cast(here, k.dtype)
    new_keys, new_values = (ops.einsum("bst,tkd->bksd", chosen, x[:, :, 0]) for x in (k, v))
    cache = ops.where(is_new, new_keys, cache[0]), ops.where(is_new, new_values, cache[1])
    seen = ranges.sees(capacity)
    keys, values = (ops.take(part, rows, axis=0) for part in cache)
    y = attention(q, keys, values, seen[:, None, None], scale)
    y = ops.where(ops.any(seen, axis=-1)[:, None, None, None], y, 0)
    return cache, ops.transpose(ops.reshape(y, (lead, length, q.shape[1], q.shape[3])), (0, 2, 1, 3))


def attend_among(q: Tensor, k: Tensor, v: Tensor, ranges: Ranges, scale: float) -> Tensor:
    """`attention` of the tokens of each row to those of them that ranges say."""
    batch, length = ops.shape(q)[0], ops.shape(q)[2]
    seen = ops.reshape(ranges.sees(length), (batch, 1, length, length))
    return ops.where(ops.any(seen, axis=-1, keepdims=True), attention(q, k, v, seen, scale), 0)


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
    """`attend` for projections as they come, q (B, T, N·D), k and v (B, T, K·D) → (B, T, N·D).

    They are split into heads of `width`, q and k rotated by the table `rope` if there is one; without a cache they
    attend to each other.
    """
    q, k, v = (split_heads(x, width) for x in (q, k, v))
    if rope is not None:
        q, k = rotate(q, rope), rotate(k, rope)
    if cache is None:
        among = attend_among if isinstance(mask, Ranges) else attention
        return cache, merge_heads(among(q, k, v, mask, scale))
    cache, y = attend(cache, q, k, v, offset, mask, scale)
    return cache, merge_heads(y)


def capacity(cache: Cache) -> int:
    """How many tokens a cache has room for."""
    return cache[0].shape[2]


def grow(cache: Cache, capacity: int) -> Cache:
    """The same cache with room for `capacity` tokens."""
    room = [(0, 0), (0, 0), (0, capacity - cache[0].shape[2]), (0, 0)]
    return ops.pad(cache[0], room), ops.pad(cache[1], room)
