"""Pooling: one vector of a text from those of its tokens, in the ways of sentence-transformers."""

from __future__ import annotations

from typing import Any

from intermodal.kernels.ops import ops

Tensor = Any


def pool(hidden: Tensor, valid: Tensor | None, modes: tuple[str, ...]) -> Tensor:
    """Pool hidden states, in float32. Padding may be left or right, and takes no part.

    Args:
        hidden: (B, T, width); or (1, T, width) of B texts side by side.
        valid: (B, T), not 0 where there is text; None where there is text everywhere.
        modes: each gives a vector, and they are put side by side: `"cls"` the first token's, `"lasttoken"` the last's,
            `"mean"`, `"max"`, `"mean_sqrt_len_tokens"` (the sum over the root of the count), `"weightedmean"` (the k-th
            token counts k times).

    Returns:
        (B, width times the number of modes), float32.
    """
    hidden = ops.cast(hidden, "float32")
    valid = ops.ones_like(hidden[:, :, 0]) if valid is None else ops.cast(ops.cast(valid, "bool"), "float32")
    return ops.concatenate([_MODES[mode](hidden, valid) for mode in modes], axis=-1)


def normalize(vectors: Tensor) -> Tensor:
    """Vectors of length 1, as torch's `normalize` has it: divided by their length, or 1e-12 where that is more."""
    length = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return vectors / ops.maximum(length, 1e-12)


def _sum(hidden: Tensor, weights: Tensor) -> Tensor:
    if hidden.shape[0] == 1:
        return ops.matmul(weights, hidden[0])
    return ops.sum(hidden * weights[:, :, None], axis=1)


def _count(weights: Tensor) -> Tensor:
    return ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-9)


def _weighted(hidden: Tensor, valid: Tensor) -> Tensor:
    weights = ops.cumsum(valid, axis=1) * valid
    return _sum(hidden, weights) / _count(weights)


def _first(hidden: Tensor, valid: Tensor) -> Tensor:
    # The one token whose running count is 1 and that is text itself.
    return _sum(hidden, ops.cast(ops.equal(ops.cumsum(valid, axis=1) * valid, 1.0), "float32"))


def _last(hidden: Tensor, valid: Tensor) -> Tensor:
    position = ops.cumsum(valid, axis=1) * valid
    return _sum(hidden, ops.cast(ops.equal(position, ops.max(position, axis=1, keepdims=True)), "float32") * valid)


_MODES = {
    "cls": _first,
    "max": lambda hidden, valid: ops.max(ops.where(valid[:, :, None] > 0, hidden, float("-inf")), axis=1),
    "mean": lambda hidden, valid: _sum(hidden, valid) / _count(valid),
    "mean_sqrt_len_tokens": lambda hidden, valid: _sum(hidden, valid) / ops.sqrt(_count(valid)),
    "weightedmean": _weighted,
    "lasttoken": _last,
}
