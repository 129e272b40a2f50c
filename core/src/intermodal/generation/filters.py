"""Which tokens may be drawn: top-k, top-p and min-p, as transformers' logits warpers of these names have them.

Each comes down to a threshold: tokens whose logit is below it are out. Compiled code finds it by bisection, which is
fifteen times as fast there as sorting a vocabulary; eager code from the largest values, where few steps count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from intermodal.kernels.ops import ops

if TYPE_CHECKING:
    from intermodal.generation.sampling import Controls, Mode

Tensor = Any

FLOOR = -104.0  # exp of it is zero in float32: nothing that far below the likeliest token is ever drawn
BISECTIONS = 40  # FLOOR / 2**40 is 1e-10, below the spacing of float32 wherever it matters


def keep(logits: Tensor, numbers: Controls, mode: Mode) -> Tensor:
    """Logits (B, V) less their maximum, -inf where top-k, top-p or min-p rule a token out.

    Equal logits are kept or ruled out together.
    """
    logits = ops.maximum(logits - ops.max(logits, axis=-1, keepdims=True), FLOOR)
    least = (
        by_largest(logits, numbers, mode) if keras.backend.backend() == "torch" else by_bisection(logits, numbers, mode)
    )
    least = ops.minimum(ops.maximum(least, ops.log(numbers.min_p)), 0.0)  # the likeliest token, at 0, always stays
    return ops.where(ops.logical_and(logits >= least, logits > FLOOR), logits, -np.inf)


def by_bisection(logits: Tensor, numbers: Controls, mode: Mode) -> Tensor:
    """The threshold (B, 1) of top-k and top-p for logits (B, V) from FLOOR to 0."""
    least = ops.full_like(logits[:, :1], FLOOR)
    if mode.top_k:
        # The largest threshold that still leaves k tokens.
        least = _bisect(lambda t: ops.sum(ops.cast(logits >= t, "int32"), -1, keepdims=True) >= numbers.top_k, least)
    if mode.top_p:
        weights = ops.where(logits >= least, ops.exp(logits), 0.0)
        spare = (1.0 - numbers.top_p) * ops.sum(weights, axis=-1, keepdims=True)
        # The largest threshold below which no more than 1 - p of the probability lies.
        least = _bisect(lambda t: ops.sum(ops.where(logits < t, weights, 0.0), -1, keepdims=True) <= spare, least)
    return least


def by_largest(logits: Tensor, numbers: Controls, mode: Mode) -> Tensor:
    """As `by_bisection`; `numbers` must be known, not traced."""
    least = ops.full_like(logits[:, :1], FLOOR)
    if not (mode.top_k or mode.top_p):
        return least
    values = ops.top_k(logits, int(numbers.top_k) if mode.top_k else logits.shape[-1])[0]
    if mode.top_k:
        least = values[:, -1:]
    if mode.top_p:
        weights = ops.exp(values)
        likelier = ops.cumsum(weights, axis=-1) - weights
        # More than k tokens may be left, if the last of them are equally likely.
        total = ops.sum(ops.where(logits >= least, ops.exp(logits), 0.0), axis=-1, keepdims=True)
        left = ops.where(likelier < numbers.top_p * total, values, 0.0)
        least = ops.maximum(least, ops.min(left, axis=-1, keepdims=True))
    return least


def _bisect(holds: Any, start: Tensor) -> Tensor:
    """The largest number from `start` to a little above 0 for which `holds`, which is true up to a point."""

    def halve(_: Any, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        low, high = bounds
        middle = (low + high) * 0.5
        below = holds(middle)
        return ops.where(below, middle, low), ops.where(below, high, middle)

    return ops.fori_loop(0, BISECTIONS, halve, (start, ops.full_like(start, 1e-6)))[0]
