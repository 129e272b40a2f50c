"""The loop in TensorFlow: runs of steps in one `while_loop` under XLA, compiled once for each shape.

Weights are the variables that the model has, and the cache is variables as well. A program reads and writes variables
where they lie; of tensors XLA would copy the whole cache at every call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]

from intermodal import kernels
from intermodal.generation.batch import RUN, Piece
from intermodal.generation.sampling import Controls, Mode
from intermodal.generation.state import State, advance_by_one, read, read_packed, settle

HELD = 16
"""How many weights are kept in the loop by one barrier."""


class Loop:
    """Reads and continues prompts with one model; what it compiles holds variables: see `TaskModel.drop_programs`."""

    compiled = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._programs: dict[tuple[str, Hashable, Any], _Program] = {}

    def compilations(self) -> dict[str, int]:
        """How many shapes and modes each function was compiled for."""
        return dict(Counter(name for name, _, _ in self._programs))

    def tensors(self) -> Any:
        """The model's weights: their variables."""
        return self.model.tensors()

    def device_of(self, w: Any) -> AbstractContextManager[Any]:
        """A scope in which new tensors are made where the weights are."""
        return tf.device(_leaves(w)[0].device)

    def tensor(self, values: np.ndarray) -> Any:
        """Host numbers as a tensor."""
        return tf.convert_to_tensor(values)

    def new_cache(self, rows: int, capacity: int) -> Any:
        """See `Backbone.new_cache`; of variables."""
        cache = self.model.backbone.new_cache(rows, capacity)
        for layer, tensors in enumerate(cache):
            cache[layer] = tuple(tf.Variable(tensor, trainable=False) for tensor in tensors)
        return cache

    def read(
        self, w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: int, inputs: Any = None
    ) -> tuple[Any, Any]:
        """See `state.read`."""

        def read_piece(w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: Any, inputs: Any) -> Any:
            return read(self.model, w, cache, ids, positions, first, offset, inputs)

        names, arguments = tuple(inputs or {}), (ids, positions, first, np.int32(offset), inputs or {})
        return self._compute("read", names, read_piece, w, cache, *arguments), cache

    def packs(self, cache: Any) -> bool:
        """Whether prompts can be read side by side into this cache."""
        with kernels.inference():
            return kernels.takes_ranges(cache[0])

    def read_packed(self, w: Any, cache: Any, piece: Piece) -> Any:
        """See `state.read_packed`."""

        def read_side_by_side(w: Any, cache: Any, piece: Piece) -> Any:
            return (), read_packed(self.model, w, cache, piece)

        self._compute("read", "packed", read_side_by_side, w, cache, piece)
        return cache

    def settle(self, state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
        """See `state.settle`."""

        def settled(w: Any, cache: Any, state: State, logits: Any, uniform: Any, numbers: Controls) -> Any:
            return settle(state, logits, uniform, numbers, mode), cache

        arguments = (state._replace(cache=[]), logits, uniform, numbers)
        return self._compute("settle", mode, settled, {}, [], *arguments)._replace(cache=state.cache)

    def run(
        self, w: Any, state: State, uniforms: np.ndarray, numbers: Controls, mode: Mode
    ) -> tuple[State, np.ndarray]:
        """Take as many steps as there are uniforms (B, steps), fewer if all rows finish; and their ids (B, taken)."""

        def run(w: Any, cache: Any, state: State, uniforms: Any, steps: Any, numbers: Controls) -> Any:
            moved, ids, taken = _run(self.model, w, state._replace(cache=cache), uniforms, steps, numbers, mode)
            return (moved._replace(cache=[]), ids, taken), moved.cache

        rows, steps = uniforms.shape
        padded = np.zeros((rows, RUN), np.float32)
        padded[:, :steps] = uniforms
        arguments = (state._replace(cache=[]), padded, np.int32(steps), numbers)
        moved, ids, taken = self._compute("run", mode, run, w, state.cache, *arguments)
        return moved._replace(cache=state.cache), ids.numpy()[:, : int(taken)]

    def _compute(
        self, name: str, key: Hashable, function: Callable[..., Any], w: Any, cache: Any, *arguments: Any
    ) -> Any:
        """The first of what `function(w, cache, *arguments)` returns; the second is written to the cache.

        It is computed by the program that was compiled for their shapes, and for `key`.
        """
        leaves = [None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(arguments)]
        variables = _leaves(cache)
        kinds = tuple(None if leaf is None else (leaf.shape, leaf.dtype) for leaf in (*variables, *leaves))
        program = self._programs.get((name, key, kinds))
        if program is None:
            program = _Program(function, w, cache, variables, arguments, leaves)
            self._programs[name, key, kinds] = program
        return program(variables, leaves)


class _Program:
    """A function of trees, compiled for variables and tensors of certain shapes, and called with their leaves alone.

    TensorFlow looks into the trees of its arguments at every call, and at each of them, which for the weights takes as
    long as a token. So these are not among them: the program holds their variables.
    """

    def __init__(
        self, function: Callable[..., Any], w: Any, cache: Any, variables: list[Any], arguments: Any, leaves: list[Any]
    ) -> None:
        trees = tf.nest.map_structure(lambda _: 0, (cache, arguments))
        given = [leaf is not None for leaf in leaves]
        self._result: Any = None  # its structure

        def traced(variables: list[Any], tensors: list[Any]) -> list[Any]:
            others = iter(tensors)
            flat = [*map(tf.convert_to_tensor, variables), *(next(others) if is_given else None for is_given in given)]
            cache, arguments = tf.nest.pack_sequence_as(trees, flat)
            with kernels.inference():
                result, cache = function(_rebuild(w, map(tf.convert_to_tensor, _leaves(w))), cache, *arguments)
            for variable, tensor in zip(variables, _leaves(cache), strict=True):
                variable.assign(tensor)
            self._result = tf.nest.map_structure(lambda leaf: None if leaf is None else 0, result)
            return _leaves(result)

        # Of the cache kinds alone: traced with variables, the program would hold this generation's for good.
        kinds = [tf.type_spec_from_value(variable) for variable in variables]
        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves if leaf is not None]
        with tf.init_scope():
            self._compiled = tf.function(traced, jit_compile=True, autograph=False).get_concrete_function(kinds, specs)

    def __call__(self, variables: list[Any], leaves: list[Any]) -> Any:
        with tf.init_scope():  # no tape watches it
            return _rebuild(self._result, self._compiled(variables, [leaf for leaf in leaves if leaf is not None]))


def _leaves(tree: Any) -> list[Any]:
    return [leaf for leaf in tf.nest.flatten(tree) if leaf is not None]


def _rebuild(tree: Any, leaves: Iterable[Any]) -> Any:
    """The structure of `tree` with other leaves; None, which TensorFlow takes for a leaf, stays."""
    others = iter(leaves)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else next(others), tree)


def _held(leaves: list[Any], taken: Any) -> Iterator[Any]:
    """The same tensors as of this step alone.

    Without barriers XLA moves the widening of narrow weights out of the loop, and keeps a wide copy of them. With one
    barrier for all, it copies the weights several times over while compiling; each takes it 7 ms.
    """
    for start in range(0, len(leaves), HELD):
        held: Any = xla.optimization_barrier(*leaves[start : start + HELD], taken)
        yield from held[:-1]


def _run(model: Any, w: Any, state: State, uniforms: Any, steps: Any, numbers: Controls, mode: Mode) -> Any:
    def going(carry: list[Any], _: Any, taken: Any) -> Any:
        return tf.logical_and(taken < steps, tf.logical_not(tf.reduce_all(_rebuild(state, carry).finished)))

    def advance(carry: list[Any], ids: Any, taken: Any) -> Any:
        weights = _rebuild(w, _held(_leaves(w), taken))
        moved = advance_by_one(model, weights, _rebuild(state, carry), uniforms[:, taken], numbers, mode)
        ids = xla.dynamic_update_slice(ids, moved.token[:, None], tf.stack([0, taken]))
        return _leaves(moved), ids, taken + 1

    ids = tf.zeros(uniforms.shape, tf.int32)
    carry, ids, taken = tf.while_loop(going, advance, (_leaves(state), ids, tf.constant(0)))
    return _rebuild(state, carry), ids, taken
