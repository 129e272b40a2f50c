"""Masks that are told by numbers: which keys of its row each token sees, from one up to its own or another."""

from __future__ import annotations

from typing import Any, NamedTuple

from intermodal.kernels.ops import ops

Tensor = Any


class Ranges(NamedTuple):
    """Where P tokens of any rows stand in a cache, and what they see; `attend` takes it in the place of a mask.

    A token's key and value are written to its row at its slot, and it sees the keys of its row from `first` to `last`,
    which all have to be written. One whose last key is before its first sees nothing, and gets zeros; one whose slot is
    -1 is not written either. Without a cache the tokens of a row are its keys: rows is None, and slots count them.

    Attributes:
        rows: (P,) int32, of the cache; None where each row has as many tokens, one row after the other.
        slots: (P,) int32.
        first: (P,) int32.
        last: (P,) int32; None where it is each token's own slot.
    """

    rows: Tensor | None
    slots: Tensor
    first: Tensor
    last: Tensor | None = None

    def within(self, window: int | None) -> Ranges:
        """The same, where a token sees no more than itself, the `window - 1` keys before it and as many after it."""
        if window is None:
            return self
        last = None if self.last is None else ops.minimum(self.last, self.slots + (window - 1))
        return self._replace(first=ops.maximum(self.first, self.slots - (window - 1)), last=last)

    def sees(self, keys: Any) -> Tensor:
        """Whether each token sees each of so many keys of its row: (P, keys)."""
        key = ops.arange(keys, dtype="int32")
        last = self.slots if self.last is None else self.last
        return ops.logical_and(key >= self.first[:, None], key <= last[:, None])


def ranges(first: Tensor | None, batch: int, length: int, offset: Any) -> Ranges:
    """Ranges of `length` tokens of each row, which stand side by side in the cache from `offset` on.

    Args:
        first: (B,) int32, the first key that a row sees; None where all see the cache from its beginning.
        batch: B.
    """
    slots = ops.tile(ops.arange(length, dtype="int32") + ops.cast(offset, "int32"), [batch])
    return Ranges(None, slots, slots * 0 if first is None else ops.repeat(ops.cast(first, "int32"), length))
