"""Choosing the next token from logits: greedy, or drawn after the usual filters, alike on every backend.

The filters are those of transformers' logits processors, in its order: repetition penalty, minimum length,
temperature, top-k, top-p, min-p. What is drawn depends on logits and one uniform number a row and step, which the host
makes; so a seed gives the same text on every backend, as far as their logits agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from intermodal import kernels
from intermodal.generation.filters import keep
from intermodal.kernels.ops import ops

Tensor = Any

STOPS = 8  # room for stop tokens at least; it doubles, so that their number hardly ever compiles anything anew


@dataclass(frozen=True)
class Mode:
    """What kind of choice is compiled. Everything else is an argument.

    Attributes:
        tokens: ids from here on are rows of the table that no token has; they are never chosen.
        sample: draw, rather than take the likeliest.
        top_k, top_p: whether these filters are there.
        penalty: whether a repetition penalty is.
        least_new: whether there is a least number of new tokens.
    """

    tokens: int
    sample: bool = False
    top_k: bool = False
    top_p: bool = False
    penalty: bool = False
    least_new: bool = False


class Controls(NamedTuple):
    """The numbers of a choice, arguments of the compiled loop.

    Attributes:
        temperature, top_p, min_p, repetition_penalty: float32. top_k: int32.
        stops: (S,) int32 token ids that end a row, padded with -1.
        least_new: (B,) int32, new tokens before which no stop token is chosen.
    """

    temperature: Any
    top_k: Any
    top_p: Any
    min_p: Any
    repetition_penalty: Any
    stops: Any
    least_new: Any


def controls(
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    stops: Iterable[int] = (),
    least_new: Sequence[int] = (0,),
) -> Controls:
    """The controls as host numbers; the defaults change nothing."""
    ids = sorted(set(stops))
    padded = np.full(max(STOPS, 1 << len(ids).bit_length()), -1, np.int32)
    padded[: len(ids)] = ids
    return Controls(
        np.float32(temperature),
        np.int32(top_k),
        np.float32(top_p),
        np.float32(min_p),
        np.float32(repetition_penalty),
        padded,
        np.asarray(least_new, np.int32),
    )


class Uniforms:
    """Random numbers in [0, 1), for each row a sequence of its own that depends on seed and row alone.

    So what a row draws does not depend on how many rows there are, nor on how many steps are taken at once.
    """

    def __init__(self, seed: int | None, rows: int) -> None:
        seed = secrets.randbits(63) if seed is None else seed
        sequences = (np.random.SeedSequence([seed, row]) for row in range(rows))
        self.rows = [np.random.Generator(np.random.Philox(sequence)) for sequence in sequences]

    def draw(self, steps: int) -> np.ndarray:
        """The next `steps` numbers of each row, (rows, steps) float32, multiples of 2**-23.

        With one bit more, `u * total` could round up to `total`, which is past the last token.
        """
        numbers = np.stack([row.integers(0, 2**23, steps, dtype=np.int32) for row in self.rows])
        return (numbers * 2.0**-23).astype(np.float32)


def choose(
    logits: Tensor, uniform: Tensor, seen: Tensor | None, count: Tensor, numbers: Controls, mode: Mode
) -> Tensor:
    """The next token of each row.

    Args:
        logits: (B, V) float32.
        uniform: (B,) float32 in [0, 1); unused when greedy.
        seen: (B, tokens) bool, tokens that the penalty is for; None without penalty.
        count: new tokens chosen so far, an int32 scalar; used with a minimum.
        numbers: the arguments of the choice.
        mode: what is compiled.

    Returns:
        (B,) int32.
    """
    logits = logits[:, : mode.tokens]
    if mode.penalty:
        penalty = numbers.repetition_penalty
        logits = ops.where(seen, ops.where(logits < 0, logits * penalty, logits / penalty), logits)
    if mode.least_new:
        ids = ops.arange(mode.tokens, dtype="int32")[:, None]
        is_stop = ops.any(ids == ops.convert_to_tensor(numbers.stops)[None, :], axis=-1)
        early = count < ops.convert_to_tensor(numbers.least_new)[:, None]
        logits = ops.where(ops.logical_and(is_stop[None, :], early), -np.inf, logits)
    if not mode.sample:
        return kernels.argmax(logits)
    return draw(keep(logits / numbers.temperature, numbers, mode), uniform)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Token whose share of the cumulative probability holds `uniform`. (B, V) and (B,) → (B,) int32."""
    weights = ops.exp(logits)
    cumulated = ops.where(weights > 0, ops.cumsum(weights, axis=-1), 0.0)
    # Sums of prefixes are taken in another order than the sum of all, so compare with the largest of themselves.
    reached = cumulated > uniform[:, None] * ops.max(cumulated, axis=-1, keepdims=True)
    return kernels.argmax(ops.cast(reached, "int32"))
