"""One pass of tokens through a decoder or encoder: where they stand, what they may see, and the cache they leave."""

from __future__ import annotations

from typing import Any, NamedTuple

from intermodal import kernels
from intermodal.errors import InputError
from intermodal.kernels.ops import ops

Tensor = Any


class Texts(NamedTuple):
    """Texts that are read side by side, as one row of T tokens.

    Attributes:
        numbers: (T,) int32, of which text each token is; S where it is of none.
        begins, ends: (S,) int32, where the first and the last token of each text stands. An empty one ends at -1.
    """

    numbers: Tensor
    begins: Tensor
    ends: Tensor

    @property
    def members(self) -> Tensor:
        """(S, T) bool: whether a token is of a text."""
        count = ops.shape(self.begins)[0]
        return ops.arange(count, dtype="int32")[:, None] == self.numbers

    def ranges(self) -> kernels.Ranges:
        """What each token sees: its text; and one that is of none, nothing."""
        length = ops.shape(self.numbers)[0]
        first = ops.concatenate([self.begins, ops.full((1,), length, dtype="int32")])
        last = ops.concatenate([self.ends, ops.full((1,), -1, dtype="int32")])
        slots = ops.arange(length, dtype="int32")
        return kernels.Ranges(None, slots, *(ops.take(x, self.numbers) for x in (first, last)))


class CacheFilled(Exception):
    """Ends a pass that was to fill the cache only: what comes after would be computed for nothing."""


class Step:
    """The context of one forward pass, made anew for each.

    Attributes:
        token_ids: (B, T) integers; None where the model reads no tokens.
        positions: (B, T) integers, for rotary or learned position embeddings; None beside that.
        valid: (B, S) true where a key is text and not padding, or None when all are.
        first: (B,) int32 instead of `valid`, where there is a cache: the key that each row's text begins with.
        packed: instead of both, where the tokens of one row are of several rows of the cache, or of several texts.
        texts: which texts those are, without a cache; else None.
        cache: one entry a layer, replaced as layers append to it; empty when nothing is kept.
        offset: index of the first new key in the cache.
        inputs: whatever else the caller passed (`token_type_ids`, `pixel_values`, …).

    Args:
        fill_only: raise `CacheFilled` as soon as every layer's keys and values are in the cache.
    """

    def __init__(
        self,
        token_ids: Tensor,
        positions: Tensor,
        *,
        valid: Tensor | None = None,
        first: Tensor | None = None,
        packed: kernels.Ranges | None = None,
        texts: Texts | None = None,
        cache: list[kernels.Cache] | None = None,
        offset: Any = 0,
        inputs: dict[str, Tensor] | None = None,
        fill_only: bool = False,
    ) -> None:
        self.token_ids = token_ids
        self.positions = positions
        self.valid = valid
        self.first = first
        self.packed = packed
        self.texts = texts
        self.cache = list(cache or ())
        self.offset = offset
        self.inputs = inputs or {}
        self._to_fill = set(range(len(self.cache))) if fill_only else None

    @property
    def length(self) -> int:
        """T, the number of tokens of this pass (a tensor where the backend leaves it open)."""
        return kernels.length_of(self.token_ids)

    def mask(self, *, causal: bool = True, window: int | None = None, blocks: Tensor | None = None) -> Any:
        """The attention mask for this pass, to be given to `attend`; layers of one kind share one.

        Args are those of `kernels.attention_mask`; with `blocks`, this pass begins at the cache's first key.
        """
        ranges = self.packed
        if ranges is not None:
            if blocks is not None or not (causal or self.texts):
                raise InputError("Tokens of several rows are read side by side, and none of them sees a later one.")
            return (ranges._replace(last=None) if causal else ranges).within(window)
        if causal and blocks is None and self.valid is None and self.cache and kernels.takes_ranges(self.cache[0]):
            return kernels.ranges(self.first, self.token_ids.shape[0], self.length, self.offset).within(window)
        keys = kernels.capacity(self.cache[0]) if self.cache else self.length
        valid = self.valid
        if self.first is not None:
            valid = ops.arange(keys, dtype="int32")[None] >= self.first[:, None]
        return kernels.attention_mask(
            valid, self.length, keys, self.offset, causal=causal, window=window, blocks=blocks
        )

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, mask: Any, scale: float) -> Tensor:
        """Attention of layer number `layer`, through the cache where there is one. Shapes as `kernels.attention`."""
        if not self.cache and isinstance(mask, kernels.Ranges):
            width = q.shape[3]
            q, k, v = (kernels.merge_heads(x) for x in (q, k, v))
            return kernels.split_heads(self.attend_heads(layer, q, k, v, width=width, mask=mask, scale=scale), width)
        if not self.cache:
            return kernels.attention(q, k, v, mask, scale)
        cache, y = kernels.attend(self.cache[layer], q, k, v, self.offset, mask, scale)
        self._keep(layer, cache)
        return y

    def attend_heads(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, width: int, rope: Any = None, mask: Any, scale: float
    ) -> Tensor:
        """`attend` for projections as they come: split into heads of `width`, rotated by `rope`, attended to, merged.

        q (B, T, N·D), k and v (B, T, K·D) → (B, T, N·D). Where queries or keys are changed in between, `attend` is it.
        """
        cache = self.cache[layer] if self.cache else None
        cache, y = kernels.attend_heads(cache, q, k, v, self.offset, mask, scale, width=width, rope=rope)
        if cache is not None:
            self._keep(layer, cache)
        return y

    def _keep(self, layer: int, cache: kernels.Cache) -> None:
        self.cache[layer] = cache
        if self._to_fill is not None:
            self._to_fill.discard(layer)
            if not self._to_fill:
                raise CacheFilled

    def first_of_each(self, x: Tensor) -> Tensor:
        """What x (B, T, width) holds of the first token of each row, or of each of S texts: (B or S, width)."""
        return x[:, 0] if self.texts is None else ops.take(x[0], self.texts.begins, axis=0)
