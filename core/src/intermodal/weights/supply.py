"""Values for variables as they are created: from a checkpoint, or blank, or random for training from scratch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.dtypes import FLOATS, is_float, numpy_dtype
from intermodal.errors import WeightError
from intermodal.weights.map import Part, Variable
from intermodal.weights.memory import aligned_empty, to_backend
from intermodal.weights.plan import Piece, Plan
from intermodal.weights.transforms import IDENTITY

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint

# Two threads reach the memory's speed where it was measured; more contend for it.
_THREADS = max(1, min(4, os.cpu_count() or 1))

_CHUNK = 16 << 20  # bytes converted at a time, so that a change of dtype needs little more than its result


class CheckpointSupply:
    """Reads each variable straight into the buffer it will live in, a few ahead of the one that is asked for.

    The buffers become the variables, so memory in flight beyond the model itself is what conversions need: one chunk
    a thread, or one tensor where its values are unpacked or transformed.

    Args:
        checkpoint: opened, with its weight files local.
        plan: what goes where.
        dtype: `"auto"` keeps each tensor's own dtype; a float dtype converts all floats.
        progress: called with the bytes of each variable that has been read.
    """

    def __init__(
        self, checkpoint: Checkpoint, plan: Plan, dtype: str, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self._checkpoint = checkpoint
        self._plan = plan
        self._dtype = dtype
        self._progress = progress
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="intermodal-read")
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._waiting = [variable for variable in plan.variables if variable.name in plan.pieces]
        self._waiting.reverse()
        self._new = RandomSupply(dtype if dtype != "auto" else "float32")

    def __enter__(self) -> CheckpointSupply:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def dtype(self, variable: Variable) -> str:
        """The checkpoint's own dtype, or the one that was asked for. Weights that share a variable share the widest."""
        pieces = self._plan.pieces.get(variable.name)
        if pieces is None:
            return self._new.dtype(variable)
        own = {piece.source.dtype for piece in pieces}
        if any(not is_float(name) for name in own):
            raise WeightError(
                f"{pieces[0].source.name} in {pieces[0].source.file} holds {pieces[0].source.stored} values, "
                f"expected floats for {variable.role} {variable.name}; quantised checkpoints need dequantising first."
            )
        if self._dtype != "auto":
            return self._dtype
        if len(own) == 1 and own <= set(FLOATS):
            return own.pop()
        return "float32"

    def value(self, variable: Variable) -> Any:
        """The variable's values, on the device."""
        if variable.name not in self._plan.pieces:
            return self._new.value(variable)
        self._read_ahead(variable.name)
        values = self._pending.pop(variable.name).result()
        self._progress(values.nbytes)
        return to_backend(values)

    def _read_ahead(self, name: str) -> None:
        while self._waiting and (len(self._pending) < 2 * _THREADS or name not in self._pending):
            variable = self._waiting.pop()
            self._pending[variable.name] = self._pool.submit(self._read, variable)

    def _read(self, variable: Variable) -> np.ndarray:
        dtype = self.dtype(variable)
        pieces = self._plan.pieces[variable.name]
        mapped = self._map(pieces, dtype)
        if mapped is not None:
            return mapped
        out = aligned_empty(variable.shape, dtype)
        for piece in pieces:
            target = out if piece.place is None else out[piece.place.index()]
            read_piece(self._checkpoint, piece, target)
        return out

    def _map(self, pieces: tuple[Piece, ...], dtype: str) -> np.ndarray | None:
        """A private, copy-on-write mapping of the file, where the backend takes memory of any alignment (torch)."""
        import keras

        piece = pieces[0]
        plain = len(pieces) == 1 and piece.place is None and piece.alias.part is None
        if keras.backend.backend() != "torch" or not plain or piece.alias.transform is not IDENTITY:
            return None
        if piece.source.dtype != dtype:
            return None
        return self._checkpoint.map_copy_on_write(piece.source.name)


def read_piece(checkpoint: Checkpoint, piece: Piece, target: np.ndarray) -> None:
    """Read one weight into `target`: in place where nothing changes, through as little as possible where it does."""
    alias, source = piece.alias, piece.source
    same = source.dtype == target.dtype.name
    if same and alias.part is None and alias.transform is IDENTITY and target.flags.c_contiguous:
        checkpoint.read_into(source.name, target)
        return
    values = checkpoint.read(source.name)
    if alias.part is not None:
        values = values[alias.part.index()]
    values = alias.transform.load(values)
    if values.shape != target.shape:
        raise WeightError(
            f"{source.name} in {source.file} came out as {values.shape}, "
            f"expected {target.shape} for {piece.weight.name}"
        )
    rows = max(1, _CHUNK // max(1, values[:1].size * 4))
    for start in range(0, len(values), rows):
        target[start : start + rows] = values[start : start + rows].astype(target.dtype, copy=False)


def tied_copy_differs(checkpoint: Checkpoint, source: str, other: str) -> bool:
    """Whether two tensors of a checkpoint, of one shape, differ anywhere. Reads them by chunks of rows."""
    left, right = checkpoint.read(source), checkpoint.read(other)
    if left.shape != right.shape:
        return True
    rows = max(1, _CHUNK // max(1, left[:1].nbytes))
    return any(
        not np.array_equal(left[start : start + rows], right[start : start + rows])
        for start in range(0, len(left), rows)
    )


class BlankSupply:
    """Zeros: for a model whose variables are about to be read from a `.keras` file."""

    def __init__(self, dtypes: dict[str, str], default: str) -> None:
        self._dtypes, self._default = dtypes, default

    def dtype(self, variable: Variable) -> str:
        """The dtype it had when it was saved."""
        return self._dtypes.get(variable.name, self._default)

    def value(self, variable: Variable) -> Any:
        """Zeros."""
        return to_backend(np.zeros(variable.shape, numpy_dtype(self.dtype(variable))))


class RandomSupply:
    """Fresh weights: normal with a small deviation, ones for norms, zeros for biases.

    Args:
        dtype: what to store them in.
        deviation: standard deviation of linears and embeddings (`initializer_range` of the config).
        seed: the same seed gives the same weights on every backend.
    """

    def __init__(self, dtype: str, deviation: float = 0.02, seed: int | None = None) -> None:
        self._dtype, self._deviation = dtype, deviation
        self._random = np.random.default_rng(seed)

    def dtype(self, variable: Variable) -> str:
        """The dtype given."""
        return self._dtype

    def value(self, variable: Variable) -> Any:
        """Random values, ones or zeros, by what the variable does."""
        kind = numpy_dtype(self._dtype)
        if variable.role == "norm":
            values = np.ones(variable.shape, kind)
        elif variable.role in ("bias", "offset norm"):
            values = np.zeros(variable.shape, kind)
        else:
            size = math.prod(variable.shape)
            values = (self._random.standard_normal(size, np.float32) * self._deviation).astype(kind)
        return to_backend(values.reshape(variable.shape))


def part_of(values: np.ndarray, place: Part | None) -> np.ndarray:
    """One weight's values out of its variable's."""
    return values if place is None else values[place.index()]
