"""The loop in TensorFlow: runs of steps in one `while_loop` under XLA, compiled once for each shape.

Weights are arguments. They are read from their variables once a generation, which shares their memory; captured
variables would tie a compiled function to the objects that LoRA and quantisation replace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]

from intermodal import kernels
from intermodal.generation.batch import RUN, Piece
from intermodal.generation.sampling import Controls, Mode
from intermodal.generation.state import State, advance_by_one, read, read_packed, settle


class Loop:
    """Reads and continues prompts with one model; it keeps what was compiled for that model."""

    compiled = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._programs: dict[tuple[str, Hashable, Any], _Program] = {}

    def compilations(self) -> dict[str, int]:
        """How many shapes and modes each function was compiled for."""
        return dict(Counter(name for name, _, _ in self._programs))

    def tensors(self) -> Any:
        """The model's weights as they are now, as tensors that share the variables' memory; no tape watches them."""
        tree = self.model.tensors()
        return _rebuild(tree, map(tf.stop_gradient, map(tf.convert_to_tensor, _leaves(tree))))

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

        def read_piece(w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: Any, inputs: Any) -> Any:
            return read(self.model, w, cache, ids, positions, first, offset, inputs)

        names = tuple(inputs or {})
        return self._compute("read", names, read_piece, w, cache, ids, positions, first, np.int32(offset), inputs or {})

    def packs(self, cache: Any) -> bool:
        """Whether prompts can be read side by side into this cache."""
        with kernels.inference():
            return kernels.takes_ranges(cache[0])

    def read_packed(self, w: Any, cache: Any, piece: Piece) -> Any:
        """See `state.read_packed`."""

        def read_side_by_side(w: Any, cache: Any, piece: Piece) -> Any:
            return read_packed(self.model, w, cache, piece)

        return self._compute("read", "packed", read_side_by_side, w, cache, piece)

    def settle(self, state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
        """See `state.settle`."""

        def settled(state: State, logits: Any, uniform: Any, numbers: Controls) -> State:
            return settle(state, logits, uniform, numbers, mode)

        return self._compute("settle", mode, settled, state, logits, uniform, numbers)

    def run(
        self, w: Any, state: State, uniforms: np.ndarray, numbers: Controls, mode: Mode
    ) -> tuple[State, np.ndarray]:
        """Take as many steps as there are uniforms (B, steps), fewer if all rows finish; and their ids (B, taken)."""

        def run(w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls) -> Any:
            return _run(self.model, w, state, uniforms, steps, numbers, mode)

        rows, steps = uniforms.shape
        padded = np.zeros((rows, RUN), np.float32)
        padded[:, :steps] = uniforms
        state, ids, taken = self._compute("run", mode, run, w, state, padded, np.int32(steps), numbers)
        return state, ids.numpy()[:, : int(taken)]

    def _compute(self, name: str, key: Hashable, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)` by the program that was compiled for their shapes, and for `key`."""
        leaves = [None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(arguments)]
        kinds = tuple(None if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves)
        program = self._programs.get((name, key, kinds))
        if program is None:
            program = self._programs[name, key, kinds] = _Program(function, arguments, leaves)
        return program(leaves)


class _Program:
    """A function of trees, compiled for tensors of certain shapes, and called with their leaves alone.

    TensorFlow looks into the trees of its arguments at every call, which for the weights takes as long as a token.
    """

    def __init__(self, function: Callable[..., Any], arguments: Any, leaves: list[Any]) -> None:
        structure = tf.nest.map_structure(lambda _: 0, arguments)
        given = [leaf is not None for leaf in leaves]
        self._result: Any = None  # its structure

        def traced(*tensors: Any) -> list[Any]:
            others = iter(tensors)
            flat = [next(others) if is_given else None for is_given in given]
            with kernels.inference():
                result = function(*tf.nest.pack_sequence_as(structure, flat))
            self._result = tf.nest.map_structure(lambda leaf: None if leaf is None else 0, result)
            return _leaves(result)

        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves if leaf is not None]
        self._compiled = tf.function(traced, jit_compile=True, autograph=False).get_concrete_function(*specs)

    def __call__(self, leaves: list[Any]) -> Any:
        return _rebuild(self._result, self._compiled(*(leaf for leaf in leaves if leaf is not None)))


def _leaves(tree: Any) -> list[Any]:
    return [leaf for leaf in tf.nest.flatten(tree) if leaf is not None]


def _rebuild(tree: Any, leaves: Iterable[Any]) -> Any:
    """The structure of `tree` with other leaves; None, which TensorFlow takes for a leaf, stays."""
    others = iter(leaves)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else next(others), tree)


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
