"""The few hot operations that models are made of, each with a native form for every backend.

A family calls `kernels.linear(x, bundle)`; which module answers was settled when Keras was imported. All modules have
the signatures of `reference`, which is written in `keras.ops` and which each of them is tested against; linears have
one form for all, in `products`.
"""

from __future__ import annotations

from typing import Any

from intermodal.kernels import reference as reference
from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.groups import in_groups, widen_groups
from intermodal.kernels.native import native as _native
from intermodal.kernels.ops import ops
from intermodal.kernels.products import activation, gated_linear, linear, linears
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.reference import Cache

prepare = _native.prepare
argmax = _native.argmax
as_one = _native.as_one
embedding = _native.embedding
rms_norm = _native.rms_norm
offset_rms_norm = _native.offset_rms_norm
layer_norm = _native.layer_norm
group_norm = _native.group_norm
conv1d = _native.conv1d
conv2d = _native.conv2d
silu = _native.silu
gelu = _native.gelu
gelu_tanh = _native.gelu_tanh
relu = _native.relu
tanh = _native.tanh
rotary_table = _native.rotary_table
rotate = _native.rotate
split_heads = _native.split_heads
merge_heads = _native.merge_heads
attention_mask = _native.attention_mask
attention = _native.attention
attend = _native.attend
attend_heads = _native.attend_heads
takes_ranges = _native.takes_ranges
ranges = _native.ranges
new_cache = _native.new_cache
append = _native.append
capacity = _native.capacity
grow = _native.grow
inference = _native.inference


def length_of(ids: Any) -> Any:
    """The second dimension of `(batch, length)` ids: an int where it is known, else a tensor."""
    known = ids.shape[1]
    return known if known is not None else ops.shape(ids)[1]


__all__ = [
    "Bundle",
    "Cache",
    "Norm",
    "Ranges",
    "activation",
    "append",
    "argmax",
    "as_one",
    "attend",
    "attend_heads",
    "attention",
    "attention_mask",
    "capacity",
    "conv1d",
    "conv2d",
    "embedding",
    "gated_linear",
    "gelu",
    "gelu_tanh",
    "group_norm",
    "grow",
    "in_groups",
    "inference",
    "layer_norm",
    "length_of",
    "linear",
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
    "widen_groups",
]
