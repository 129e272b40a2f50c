"""The loop in PyTorch: eager, in inference mode, with Python integers for offsets and a cache written in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
import torch

from intermodal import kernels
from intermodal.generation.batch import Piece
from intermodal.generation.sampling import Controls, Mode
from intermodal.generation.state import State, advance_by_one, read, read_packed, settle
from intermodal.kernels.ops import ops


class Loop:
    """Reads and continues prompts with one model. Nothing is compiled, so shapes need no rounding."""

    compiled = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def tensors(self) -> Any:
        """The model's weights as they are now."""
        return self.model.tensors()

    def device_of(self, w: Any) -> AbstractContextManager[Any]:
        """A scope in which new tensors are made where the weights are."""
        return keras.device(str(_first_tensor(w).device))

    def tensor(self, values: np.ndarray) -> Any:
        """Host numbers as a tensor."""
        return ops.convert_to_tensor(values)

    def new_cache(self, rows: int, capacity: int) -> Any:
        """See `Backbone.new_cache`."""
        return self.model.backbone.new_cache(rows, capacity)

    @torch.inference_mode()
    def read(
        self, w: Any, cache: Any, ids: Any, positions: Any, first: Any, offset: int, inputs: Any = None
    ) -> tuple[Any, Any]:
        """See `state.read`."""
        ids, positions = ops.convert_to_tensor(ids), ops.convert_to_tensor(positions)
        inputs = {name: ops.convert_to_tensor(values) for name, values in (inputs or {}).items()}
        return read(self.model, w, cache, ids, positions, first, offset, inputs)

    @torch.inference_mode()
    def packs(self, cache: Any) -> bool:
        """Whether prompts can be read side by side into this cache."""
        return kernels.takes_ranges(cache[0])

    @torch.inference_mode()
    def read_packed(self, w: Any, cache: Any, piece: Piece) -> Any:
        """See `state.read_packed`."""
        with _one_thread():
            return read_packed(self.model, w, cache, Piece(*map(ops.convert_to_tensor, piece)))

    @torch.inference_mode()
    def settle(self, state: State, logits: Any, uniform: Any, numbers: Controls, mode: Mode) -> State:
        """See `state.settle`."""
        return settle(state, logits, ops.convert_to_tensor(uniform), numbers, mode)

    @torch.inference_mode()
    def run(
        self, w: Any, state: State, uniforms: np.ndarray, numbers: Controls, mode: Mode
    ) -> tuple[State, np.ndarray]:
        """Take as many steps as there are uniforms (B, steps), fewer if all rows finish; and their ids (B, taken)."""
        columns, taken = ops.convert_to_tensor(uniforms), []
        numbers = numbers._replace(stops=ops.convert_to_tensor(numbers.stops))  # once, not at every token
        with _one_thread() if kernels.takes_ranges(state.cache[0]) else nullcontext():
            for step in range(uniforms.shape[1]):
                if state.finished.all():
                    break
                state = advance_by_one(self.model, w, state, columns[:, step], numbers, mode)
                taken.append(state.token)
        ids = torch.stack(taken, dim=1).cpu().numpy() if taken else np.zeros((len(uniforms), 0), np.int32)
        return state, ids


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use no threads beside those of compiled kernels, which do nearly all of the work.

    Its own would stay awake for milliseconds after each operator, on the cores that the kernels need.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _first_tensor(tree: Any) -> torch.Tensor:
    while not isinstance(tree, torch.Tensor):
        tree = next(part for part in (tree.values() if isinstance(tree, dict) else tree) if part is not None)
    return tree
