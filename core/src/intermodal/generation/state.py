"""Where a batch stands between two tokens, and the one step that takes it on: the same on every backend.

What differs between backends is only how the step is repeated: see `loop_jax`, `loop_torch` and `loop_tensorflow`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from intermodal import kernels
from intermodal.generation.batch import Piece
from intermodal.generation.sampling import Controls, Mode, choose
from intermodal.kernels.ops import ops
from intermodal.layers.step import CacheFilled, Step

Tensor = Any


class State(NamedTuple):
    """A batch of B rows in the middle of generation.

    Attributes:
        cache: keys and values of each layer, with room for C tokens.
        first: (B,) int32, where in the cache each row's text begins; None where nothing is padded and the backend
            prefers that.
        token: (B,) int32, chosen last and not in the cache yet.
        position: (B,) int32, its position in its row's text.
        finished: (B,) bool, rows that have ended; what they go on to emit is 0, and nobody looks at it.
        left: (B,) int32, how many more tokens each row may have.
        seen: (B, tokens) bool, which tokens prompt and continuation hold; None without a repetition penalty.
        offset: where in the cache `token` goes, an int32 scalar (a Python int on torch).
        count: tokens chosen so far, likewise.
    """

    cache: list[Any]
    first: Any
    token: Any
    position: Any
    finished: Any
    left: Any
    seen: Any
    offset: Any
    count: Any

    @property
    def capacity(self) -> int:
        """C."""
        return kernels.capacity(self.cache[0])


def read(
    model: Any,
    w: Any,
    cache: list[Any],
    ids: Tensor,
    positions: Tensor,
    first: Any,
    offset: Any,
    inputs: dict[str, Tensor] | None = None,
) -> tuple[Tensor, list[Any]]:
    """Read a piece of the prompts, ids and positions (B, T), into the cache at `offset`.

    `inputs` are what the backbone reads besides, such as pixels; then the piece is the whole of the prompts.

    Returns:
        The last position's logits (B, V) and the cache.
    """
    step = Step(ids, positions, first=first, cache=cache, offset=offset, inputs=inputs)
    logits = model.logits(w, step, last_only=True)[:, 0]
    return logits, step.cache


def read_packed(model: Any, w: Any, cache: list[Any], piece: Piece) -> list[Any]:
    """Read a piece of the prompts side by side into their rows of the cache, which is returned.

    Logits are left out: the last token of each prompt is none of a piece, but the first that a step takes.
    """
    ids, positions, *places = piece
    step = Step(ids[None], positions[None], packed=kernels.Ranges(*places), cache=cache, fill_only=True)
    with suppress(CacheFilled):
        model.backbone.forward(w, step)
    return step.cache


def settle(state: State, logits: Tensor, uniform: Tensor, numbers: Controls, mode: Mode) -> State:
    """Choose each row's next token from logits (B, V), and note who has finished."""
    chosen = choose(logits, uniform, state.seen, state.count, numbers, mode)
    token = ops.where(state.finished, 0, chosen)
    left = state.left - 1
    is_stop = ops.any(token[:, None] == ops.convert_to_tensor(numbers.stops)[None, :], axis=-1)
    finished = state.finished | is_stop | (left <= 0)  # by operators: PyTorch counts microseconds here
    seen = state.seen
    if seen is not None:
        seen = ops.logical_or(seen, ops.arange(mode.tokens, dtype="int32")[None, :] == chosen[:, None])
    return state._replace(token=token, left=left, finished=finished, seen=seen, count=state.count + 1)


def advance_by_one(model: Any, w: Any, state: State, uniform: Tensor, numbers: Controls, mode: Mode) -> State:
    """Read the last token into the cache and choose the next one."""
    token, position = state.token[:, None], state.position[:, None]
    logits, cache = read(model, w, state.cache, token, position, state.first, state.offset)
    moved = state._replace(cache=cache, position=state.position + 1, offset=state.offset + 1)
    return settle(moved, logits, uniform, numbers, mode)


def grow(state: State, capacity: int) -> State:
    """The same state with room for `capacity` tokens."""
    cache = list(state.cache)
    for layer, kept in enumerate(cache):  # one layer at a time, so that two whole caches never coexist
        cache[layer] = kernels.grow(kept, capacity)
    return state._replace(cache=cache)
