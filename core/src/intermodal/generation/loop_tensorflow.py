"""The loop in TensorFlow: runs of steps in one `while_loop` under XLA, compiled once for each shape.

Weights are arguments. They are read from their variables once a generation, which shares their memory; captured
variables would tie a compiled function to the objects that LoRA and quantisation replace.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]

from intermodal import kernels
from intermodal.generation.batch import RUN
from intermodal.generation.sampling import Controls, Mode
from intermodal.generation.state import State, advance_by_one, read, settle


class Loop:
    """Reads and continues prompts with one model; it keeps what was compiled for that model."""

    compiled = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._functions: dict[tuple[str, Hashable], Any] = {}

    def compilations(self) -> dict[str, int]:
        """How many shapes and modes each function was compiled for."""
        counts: dict[str, int] = {}
        for (name, _), function in self._functions.items():
            counts[name] = counts.get(name, 0) + function.experimental_get_tracing_count()
        return counts

    def tensors(self) -> Any:
        """The model's weights as they are now, as tensors that share the variables' memory."""
        return _tensors(self.model.tensors())

    def device_of(self, w: Any) -> AbstractContextManager[Any]:
        """A scope in which new tensors are made where the weights are."""
        return tf.device(_leaves(w)[0].device)

    def tensor(self, values: np.ndarray) -> Any:
        """Host numbers as a tensor."""
        return tf.convert_to_tensor(values)

    def new_cache(self, rows: int, capacity: int) -> Any:
        """See `Backbone.new_cache`."""
        return self.model.backbone.new_cache(rows, capacity)

    def read(
        self, w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: int, inputs: Any = None
    ) -> tuple[Any, Any]:
        """See `state.read`."""
        arguments = _tensors((ids, positions, first, np.int32(offset), inputs or {}))
        shapes = tuple((name, values.shape) for name, values in (inputs or {}).items())
        return self._function("read", (ids.shape, kernels.capacity(cache[0]), shapes), self._read)(w, cache, *arguments)

    def settle(self, state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
        """See `state.settle`."""

        def settled(state: State, logits: Any, uniform: Any, numbers: Controls) -> State:
            return settle(state, logits, uniform, numbers, mode)

        key = (mode, state.token.shape, state.capacity, numbers.stops.shape)
        return self._function("settle", key, settled)(*_tensors((state, logits, uniform, numbers)))

    def run(
        self, w: Any, state: State, uniforms: np.ndarray, numbers: Controls, mode: Mode
    ) -> tuple[State, np.ndarray]:
        """Take as many steps as there are uniforms (B, steps), fewer if all rows finish; and their ids (B, taken)."""

        def run(w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls) -> Any:
            return _run(self.model, w, state, uniforms, steps, numbers, mode)

        rows, steps = uniforms.shape
        padded = np.zeros((rows, RUN), np.float32)
        padded[:, :steps] = uniforms
        function = self._function("run", (mode, state.token.shape, state.capacity, numbers.stops.shape), run)
        state, ids, taken = function(w, *_tensors((state, padded, np.int32(steps), numbers)))
        return state, ids.numpy()[:, : int(taken)]

    def _read(
        self, w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: Any, inputs: Any
    ) -> tuple[Any, Any]:
        return read(self.model, w, cache, ids, positions, first, offset, inputs)

    def _function(self, name: str, key: Hashable, function: Callable[..., Any]) -> Any:
        """The compiled function for a shape and mode.

        Each is a tf.function of its own, because one that is traced for several shapes warns that it is.
        """
        made = self._functions.get((name, key))
        if made is None:
            made = self._functions[name, key] = tf.function(function, jit_compile=True, autograph=False)
        return made


def _leaves(tree: Any) -> list[Any]:
    return [leaf for leaf in tf.nest.flatten(tree) if leaf is not None]


def _rebuild(tree: Any, leaves: Iterable[Any]) -> Any:
    """The structure of `tree` with other leaves; None, which TensorFlow takes for a leaf, stays."""
    others = iter(leaves)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else next(others), tree)


def _tensors(tree: Any) -> Any:
    """Host numbers as tensors: as arguments, Python numbers and numpy arrays would each be compiled anew."""
    return _rebuild(tree, map(tf.convert_to_tensor, _leaves(tree)))


def _held(leaf: Any, taken: Any) -> Any:
    pair: Any = xla.optimization_barrier(leaf, taken)
    return pair[0]


def _run(model: Any, w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls, mode: Mode) -> Any:
    def going(carry: list[Any], _: Any, taken: Any) -> Any:
        return tf.logical_and(taken < steps, tf.logical_not(tf.reduce_all(_rebuild(state, carry).finished)))

    def advance(carry: list[Any], ids: Any, taken: Any) -> Any:
        # Without barriers XLA moves the widening of narrow weights out of the loop, and keeps a wide copy of them.
        # With one barrier for all, it copies the weights several times over while compiling.
        weights = _rebuild(w, (_held(leaf, taken) for leaf in _leaves(w)))
        moved = advance_by_one(model, weights, _rebuild(state, carry), uniforms[:, taken], numbers, mode)
        ids = xla.dynamic_update_slice(ids, moved.token[:, None], tf.stack([0, taken]))
        return _leaves(moved), ids, taken + 1

    ids = tf.zeros(uniforms.shape, tf.int32)
    carry, ids, taken = tf.while_loop(going, advance, (_leaves(state), ids, tf.constant(0)))
    return _rebuild(state, carry), ids, taken
