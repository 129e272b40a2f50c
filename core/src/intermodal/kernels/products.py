"""Linears with what stands before and after them: one call where compiled kernels take it, else one operation by one.

Each backend's module gives `fused(x, bundles, norm, activation, residual, gated=…)`, the results of compiled kernels or
None; `linears(x, *bundles)`, the linears alone by the backend's own operators; and `completed(x, y, bundle)`, a product
y of x with the bias and the LoRA update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intermodal.kernels.bundle import Bundle, Norm
from intermodal.kernels.native import native

Tensor = Any


def activation(name: str) -> Callable[[Any], Any]:
    """The kernel of an activation, by its name in a config (a value of `fields.ACTIVATIONS`)."""
    return _ACTIVATIONS[name]


_ACTIVATIONS = {
    "gelu": native.gelu,
    "gelu_pytorch_tanh": native.gelu_tanh,
    "relu": native.relu,
    "silu": native.silu,
    "tanh": native.tanh,
}


def linear(
    x: Tensor, w: Bundle, *, norm: Norm | None = None, activation: str | None = None, residual: Tensor | None = None
) -> Tensor:
    """`residual + activation(norm(x) @ weight.T + bias)`, with the LoRA update as part of the linear.

    Args:
        x: (…, in).
        w: the weight (out, in), and what belongs to it.
        norm: of x, before.
        activation: its name in a config, as `activation` takes it.
        residual: (…, out), shaped as the result.

    Returns:
        (…, out).
    """
    fused = native.fused(x, (w,), norm, activation, residual)
    if fused is not None:
        return fused[0]
    (y,) = _linears(x, (w,), norm)
    y = y if activation is None else _ACTIVATIONS[activation](y)
    return y if residual is None else residual + y


def linears(x: Tensor, *bundles: Bundle, norm: Norm | None = None) -> tuple[Tensor, ...]:
    """`linear` of one x by several weights, as queries, keys and values are: products that can be computed as one."""
    fused = native.fused(x, bundles, norm)
    return _linears(x, bundles, norm) if fused is None else fused


def gated_linear(x: Tensor, gate: Bundle, up: Bundle, activation: str, *, norm: Norm | None = None) -> Tensor:
    """`activation(linear(norm(x), gate)) * linear(norm(x), up)` (arXiv:2002.05202). x (…, in) → (…, out).

    Args:
        x: (…, in).
        gate: the weight (out, in) that the activation is of.
        up: the other, as large.
        activation: its name in a config, as in `linear`.
        norm: of x, before.
    """
    fused = native.fused(x, (gate, up), norm, activation, gated=True)
    if fused is not None:
        return fused[0]
    first, second = _linears(x, (gate, up), norm)
    return _ACTIVATIONS[activation](first) * second


def _linears(x: Tensor, bundles: tuple[Bundle, ...], norm: Norm | None) -> tuple[Tensor, ...]:
    """Linears of which `fused` took not all: still their products with the norm, where it takes these.

    So the weights' part of a linear has the same bits with a LoRA update as without.
    """
    products = native.fused(x, tuple([w._replace(bias=None, lora_a=None) for w in bundles]), norm)
    if products is None:
        return native.linears(_normed(x, norm), *bundles)
    if any(w.lora_a is not None for w in bundles):
        x = _normed(x, norm)
    return tuple([native.completed(x, y, w) for y, w in zip(products, bundles, strict=True)])


def _normed(x: Tensor, norm: Norm | None) -> Tensor:
    """x after a norm; x itself where there is none."""
    if norm is None:
        return x
    return (native.offset_rms_norm if norm.offset else native.rms_norm)(x, norm.w, norm.epsilon)
