"""The loop in JAX: runs of steps in one `while_loop`, compiled once for each shape.

Weights are arguments, never closed over: a constant would be copied into the executable, and go stale after training.
The cache is donated, so that it is written in place.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from intermodal import kernels
from intermodal.generation.batch import RUN, Piece
from intermodal.generation.sampling import Controls, Mode
from intermodal.generation.state import State, advance_by_one, read, read_packed, settle


class Loop:
    """Reads and continues prompts with one model; it keeps what was compiled for that model."""

    compiled = True

    def __init__(self, model: Any) -> None:
        self.model = model

        def read_piece(
            w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: Any, inputs: Any
        ) -> tuple[Any, Any]:
            return read(model, w, cache, ids, positions, first, offset, inputs)

        def read_side_by_side(w: Any, cache: Any, piece: Piece) -> Any:
            return read_packed(model, w, cache, piece)

        def run(w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls, mode: Mode) -> Any:
            return _run(model, w, state, uniforms, steps, numbers, mode)

        def settle_first(state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
            return settle(state, logits, uniform, numbers, mode)

        def new_cache(rows: int, capacity: int) -> Any:
            return model.backbone.new_cache(rows, capacity)

        self._new_cache: Any = jax.jit(new_cache, static_argnums=(0, 1))
        self._read: Any = jax.jit(read_piece, donate_argnames=("cache",))
        self._read_packed: Any = jax.jit(read_side_by_side, donate_argnames=("cache",))
        self._settle: Any = jax.jit(settle_first, static_argnames=("mode",))
        self._run: Any = jax.jit(run, static_argnames=("mode",), donate_argnames=("state",))

    def compilations(self) -> dict[str, int]:
        """How many shapes and modes each function was compiled for."""
        functions = {"read": (self._read, self._read_packed), "settle": (self._settle,), "run": (self._run,)}
        counts = {name: sum(function._cache_size() for function in these) for name, these in functions.items()}
        return {name: count for name, count in counts.items() if count}

    def tensors(self) -> Any:
        """The model's weights as they are now."""
        return self.model.tensors()

    def device_of(self, w: Any) -> AbstractContextManager[Any]:
        """A scope in which new arrays are made where the weights are."""
        devices = jax.tree.leaves(w)[0].devices()
        return jax.default_device(next(iter(devices))) if len(devices) == 1 else nullcontext()

    def tensor(self, values: np.ndarray) -> Any:
        """Host numbers as an array, without a program that would have to be compiled for it."""
        return jax.device_put(values)

    def new_cache(self, rows: int, capacity: int) -> Any:
        """See `Backbone.new_cache`; one program makes all layers'."""
        return self._new_cache(rows, capacity)

    def read(
        self, w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: int, inputs: Any = None
    ) -> tuple[Any, Any]:
        """See `state.read`."""
        return self._read(w, cache, ids, positions, first, np.int32(offset), inputs)

    def packs(self, cache: Any) -> bool:
        """Whether prompts can be read side by side into this cache."""
        return kernels.takes_ranges(cache[0])

    def read_packed(self, w: Any, cache: Any, piece: Piece) -> Any:
        """See `state.read_packed`."""
        return self._read_packed(w, cache, piece)

    def settle(self, state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
        """See `state.settle`."""
        return self._settle(state, logits, uniform, numbers, mode)

    def run(
        self, w: Any, state: State, uniforms: np.ndarray, numbers: Controls, mode: Mode
    ) -> tuple[State, np.ndarray]:
        """Take as many steps as there are uniforms (B, steps), fewer if all rows finish; and their ids (B, taken)."""
        rows, steps = uniforms.shape
        padded = np.zeros((rows, RUN), np.float32)
        padded[:, :steps] = uniforms
        state, ids, taken = self._run(w, state, padded, np.int32(steps), numbers, mode)
        return state, np.asarray(ids)[:, : int(taken)]


def _run(model: Any, w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls, mode: Mode) -> Any:
    def going(carry: Any) -> Any:
        state, _, taken = carry
        return jnp.logical_and(taken < steps, jnp.logical_not(jnp.all(state.finished)))

    def advance(carry: Any) -> Any:
        state, ids, taken = carry
        # Without the barrier XLA moves the widening of narrow weights out of the loop, and keeps a wide copy of them.
        weights, taken = lax.optimization_barrier((w, taken))
        uniform = lax.dynamic_index_in_dim(uniforms, taken, axis=1, keepdims=False)
        state = advance_by_one(model, weights, state, uniform, numbers, mode)
        ids = lax.dynamic_update_slice(ids, state.token[:, None], (0, taken))
        return state, ids, taken + 1

    ids = jnp.zeros(uniforms.shape, jnp.int32)
    return lax.while_loop(going, advance, (state, ids, jnp.int32(0)))
