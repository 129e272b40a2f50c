"""Generation of a batch, step by step, whatever the backend: read the prompts, then continue them in runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from intermodal.generation.batch import AHEAD, PIECE, RUN, Batch, cache_bucket, pad_left, round_up, whole_bucket
from intermodal.generation.sampling import Controls, Mode, Uniforms
from intermodal.generation.state import State, grow
from intermodal.kernels.ops import ops
from intermodal.layers.storage import device_kind


class Decoding:
    """A batch being generated.

    Args:
        model: the causal language model.
        prompts: token ids of each row; none is empty.
        limits: for each row, how many new tokens it may have; each at least 1.
        mode, numbers: how tokens are chosen.
        seed: of what is drawn; None draws another each time.
        inputs: what the backbone reads beside the prompts, such as pixels. The prompts are then read at once, for
            tokens may see later ones.

    Attributes:
        finished: (B,) bool numpy array, rows that have ended.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        mode: Mode,
        numbers: Controls,
        seed: int | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._loop = loop_of(model)
        self._weights = self._loop.tensors()
        self._mode, self._numbers = mode, numbers
        self._uniforms = Uniforms(seed, len(prompts))
        self._to_come = max(limits)
        longest = max(map(len, prompts))
        self._first: np.ndarray | None = None
        with self._loop.device_of(self._weights):
            piece = PIECE[device_kind()] if self._loop.compiled else longest
            if inputs and self._loop.compiled:
                piece = whole_bucket(longest, piece)
            length = round_up(longest, piece)
            cache = self._loop.new_cache(len(prompts), cache_bucket(length + min(self._to_come, AHEAD)))
            if not inputs and self._loop.packs(cache):
                batch = pad_left(prompts, longest)
                self._used = longest - 1
                self._state = self._read_packed(batch, np.asarray(limits, np.int32), cache)
            else:
                batch = pad_left(prompts, length)
                self._used = length
                self._state = self._read(batch, piece, np.asarray(limits, np.int32), cache, inputs)
                self._first = _host(self._state.token)[:, None]

    def _read_packed(self, batch: Batch, limits: np.ndarray, cache: list[Any]) -> State:
        """Read all but the last token of each prompt; those are the first to be continued."""
        loop = self._loop
        for piece in batch.pieces(filled=loop.compiled):
            cache = loop.read_packed(self._weights, cache, piece)
        return self._begin(batch, limits, cache, batch.ids.shape[1] - 1)

    def _read(
        self,
        batch: Batch,
        piece: int,
        limits: np.ndarray,
        cache: list[Any],
        inputs: Mapping[str, np.ndarray] | None,
    ) -> State:
        """Read the prompts, padding as well, and choose the first token of each."""
        loop, length, logits = self._loop, batch.ids.shape[1], None
        state = self._begin(batch, limits, cache, length)
        for start in range(0, length, piece):
            columns = slice(start, start + piece)
            logits, cache = loop.read(
                self._weights, cache, batch.ids[:, columns], batch.positions[:, columns], state.first, start, inputs
            )
        state = state._replace(cache=cache)
        return loop.settle(state, logits, self._uniforms.draw(1)[:, 0], self._numbers, self._mode)

    def _begin(self, batch: Batch, limits: np.ndarray, cache: list[Any], used: int) -> State:
        """The state before the first token is chosen, where `used` columns of the batch are in the cache."""
        loop, rows = self._loop, len(batch.ids)
        return State(
            cache=cache,
            first=loop.tensor(batch.first) if loop.compiled or batch.padded else None,
            token=loop.tensor(batch.ids[:, -1]),
            position=loop.tensor(batch.positions[:, -1] + used + 1 - batch.ids.shape[1]),
            finished=loop.tensor(np.zeros(rows, bool)),
            left=loop.tensor(limits),
            seen=loop.tensor(batch.seen(self._mode.tokens)) if self._mode.penalty else None,
            offset=loop.tensor(np.asarray(used, np.int32)) if loop.compiled else used,
            count=loop.tensor(np.asarray(0, np.int32)) if loop.compiled else 0,
        )

    @property
    def finished(self) -> np.ndarray:
        """(B,) bool: rows that have ended."""
        return _host(self._state.finished)

    def finish(self, row: int) -> None:
        """End a row from outside, for a stop string."""
        ended = self.finished.copy()
        ended[row] = True
        with self._loop.device_of(self._weights):
            self._state = self._state._replace(finished=self._loop.tensor(ended))

    def advance(self, steps: int) -> np.ndarray:
        """Generate up to `steps` more tokens of each row: (B, taken) int32, with zeros after a row's end.

        `taken` is less than `steps` when all rows end, or `steps` is more than one call takes; 0 when they had ended.
        """
        if self._first is not None:  # the token that the prompts' last logits gave
            ids, self._first = self._first, None
        else:
            with self._loop.device_of(self._weights):
                ids = self._continue(min(steps, RUN, self._to_come))
        self._to_come -= ids.shape[1]
        return ids

    def _continue(self, steps: int) -> np.ndarray:
        if self._used + steps > self._state.capacity:
            self._state = grow(self._state, 2 * self._state.capacity)
        uniforms = self._uniforms.draw(steps)
        self._state, ids = self._loop.run(self._weights, self._state, uniforms, self._numbers, self._mode)
        self._used += ids.shape[1]
        return ids


def loop_of(model: Any) -> Any:
    """The model's loop, made at first use and kept on the model, so that what was compiled lives as long as it does."""
    loop = model._generation_loop
    if loop is None:
        module = importlib.import_module(f"intermodal.generation.loop_{keras.backend.backend()}")
        loop = model._generation_loop = module.Loop(model)
    return loop


def _host(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))
