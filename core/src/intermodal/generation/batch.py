"""Prompts of different lengths side by side, in shapes of which there are few.

Rows are padded on the left, so that all of them continue at the same index of the cache. JAX and TensorFlow compile
every new shape anew, which takes them seconds; so prompts are read in pieces of one size, whatever their length, and
the cache has one of few sizes. Kernels that are told by ranges what a token sees read the tokens of all prompts side by
side instead, without the padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

PIECE = {"cpu": 64, "gpu": 512, "tpu": 512}
"""Tokens of a prompt that are read at once, by kind of device. A CPU is nearly as fast with so few as with more."""

PACKED = (64, 256)
"""Tokens of all prompts that are read at once where they are read side by side."""

PIECE_COSTS = 32
"""Tokens that could be read in the time that each such piece takes beside its own: weights are read once for each."""

SMALLEST_CACHE = 256

AHEAD = 1024
"""New tokens for which the cache has room from the start; whoever allows more may stop before they are reached."""

RUN = 64
"""Steps that are taken in one call, at most: the width of the buffer that they are written to."""


class Piece(NamedTuple):
    """Some tokens of any prompts, side by side: each attribute is (P,) int32.

    Attributes:
        ids, positions: of the tokens.
        rows, slots, first: as `kernels.Ranges`; a slot of -1 is of a token that fills the piece.
    """

    ids: np.ndarray
    positions: np.ndarray
    rows: np.ndarray
    slots: np.ndarray
    first: np.ndarray


class Batch(NamedTuple):
    """Prompts as arrays.

    Attributes:
        ids: (B, T) int32; padding is 0.
        mask: (B, T) bool, true where there is text.
        positions: (B, T) int32, counted from each row's first token; 0 on padding.
    """

    ids: np.ndarray
    mask: np.ndarray
    positions: np.ndarray

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return not self.mask.all()

    @property
    def first(self) -> np.ndarray:
        """(B,) int32: where each row's text begins."""
        return self.mask.argmax(axis=1).astype(np.int32)

    def pieces(self, *, filled: bool) -> Iterator[Piece]:
        """All tokens but each row's last, row after row.

        Args:
            filled: give all pieces sizes of `PACKED`; else the last is as short as it is.
        """
        rows, slots = np.nonzero(self.mask[:, :-1])
        sizes = packed_sizes(len(rows))
        columns = self.ids[rows, slots], self.positions[rows, slots], rows, slots, self.first[rows]
        if filled:
            more = sum(sizes) - len(rows)
            fill = (0, 0, 0, -1, 0)  # of what a `Piece` has
            columns = [np.pad(x, (0, more), constant_values=y) for x, y in zip(columns, fill, strict=True)]
        else:
            sizes = [max(PACKED)] * -(-len(rows) // max(PACKED))
        for start, size in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
            yield Piece(*(column[start : start + size].astype(np.int32) for column in columns))

    def seen(self, tokens: int) -> np.ndarray:
        """(B, tokens) bool: which tokens each prompt holds."""
        seen = np.zeros((len(self.ids), tokens), bool)
        rows, columns = np.nonzero(self.mask & (self.ids < tokens))
        seen[rows, self.ids[rows, columns]] = True
        return seen


def pad_left(prompts: Sequence[Sequence[int]], length: int) -> Batch:
    """Put prompts at the right end of rows of `length`."""
    ids, mask = np.zeros((len(prompts), length), np.int32), np.zeros((len(prompts), length), bool)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = True
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0).astype(np.int32)
    return Batch(ids, mask, positions)


def round_up(length: int, piece: int) -> int:
    """The next multiple of `piece`."""
    return -(-length // piece) * piece


def packed_sizes(tokens: int) -> list[int]:
    """The sizes of the pieces in which so many tokens are read: the largest, then those that read the rest soonest."""
    most = max(PACKED)
    whole, rest = divmod(tokens, most)
    size = min(PACKED, key=lambda size: round_up(rest, size) // size * (size + PIECE_COSTS))
    return [most] * whole + [size] * (round_up(rest, size) // size)


def whole_bucket(length: int, piece: int) -> int:
    """What prompts that are read at once are padded to: a multiple of `piece`, of which each doubling has four at most.

    So a fourth of what is read is padding at the worst, and a few programs serve every length.
    """
    return round_up(length, max(piece, 1 << max(0, (length - 1).bit_length() - 3)))


def cache_bucket(needed: int) -> int:
    """Room for `needed` tokens: the next power of two."""
    return max(SMALLEST_CACHE, 1 << (needed - 1).bit_length())
