"""Masks that are told by numbers: which keys of its row's cache each token sees, from one up to its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from intermodal.kernels.ops import ops

Tensor = Any


class Ranges(NamedTuple):
    """Where P tokens of any rows stand in a cache, and what they see; `attend` takes it in the place of a mask.

    A token's key and value are written to its row at its slot, and it sees the keys of its row from `first` to that
    slot, which all have to be written. One whose slot is before `first` sees nothing, and gets zeros; one whose slot is
    -1 is not written either.

    Attributes:
        rows: (P,) int32, of the cache; None where each row has as many tokens, one row after the other.
        slots: (P,) int32.
        first: (P,) int32.
    """

    rows: Tensor | None
    slots: Tensor
    first: Tensor

    def within(self, window: int | None) -> Ranges:
        """The same, where a token sees no more than itself and the `window - 1` keys before it."""
        if window is None:
            return self
        return self._replace(first=ops.maximum(self.first, self.slots - (window - 1)))


def ranges(first: Tensor | None, batch: int, length: int, offset: Any) -> Ranges:
    """Ranges of `length` tokens of each row, which stand side by side in the cache from `offset` on.

    Args:
        first: (B,) int32, the first key that a row sees; None where all see the cache from its beginning.
        batch: B.
    """
    slots = ops.tile(ops.arange(length, dtype="int32") + ops.cast(offset, "int32"), [batch])
    return Ranges(None, slots, slots * 0 if first is None else ops.repeat(ops.cast(first, "int32"), length))
