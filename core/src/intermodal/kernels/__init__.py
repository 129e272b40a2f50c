"""The few hot operations that models are made of, each with a native form for every backend.

A family calls `kernels.linear(x, bundle)`; which module answers was settled when Keras was imported. All modules have
the signatures of `reference`, which is written in `keras.ops` and which each of them is tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

if keras.backend.backend() == "jax":
    from intermodal.kernels import jax as _native
elif keras.backend.backend() == "torch":
    from intermodal.kernels import torch as _native
else:
    from intermodal.kernels import tensorflow as _native

from intermodal.kernels import reference as reference
from intermodal.kernels.bundle import Bundle
from intermodal.kernels.groups import in_groups, widen_groups
from intermodal.kernels.ops import ops
from intermodal.kernels.ranges import Ranges
from intermodal.kernels.reference import Cache

prepare = _native.prepare
argmax = _native.argmax
as_one = _native.as_one
linear = _native.linear
linears = _native.linears
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
gated = _native.gated
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


def activation(name: str) -> Callable[[Any], Any]:
    """The kernel of an activation, by its name in a config (a value of `fields.ACTIVATIONS`)."""
    return _ACTIVATIONS[name]


_ACTIVATIONS = {"gelu": gelu, "gelu_pytorch_tanh": gelu_tanh, "relu": relu, "silu": silu, "tanh": tanh}


def length_of(ids: Any) -> Any:
    """The second dimension of `(batch, length)` ids: an int where it is known, else a tensor."""
    known = ids.shape[1]
    return known if known is not None else ops.shape(ids)[1]


__all__ = [
    "Bundle",
    "Cache",
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
    "gated",
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
