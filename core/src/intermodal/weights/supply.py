"""Values for variables as they are created: from a checkpoint, or blank, or random for training from scratch."""

from __future__ import annotations

import math
import os
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.dtypes import FLOATS, is_float, numpy_dtype
from intermodal.errors import WeightError
from intermodal.weights.map import Variable
from intermodal.weights.memory import aligned_empty, takes_in_place, to_backend
from intermodal.weights.packing import Packing
from intermodal.weights.plan import Plan
from intermodal.weights.reading import is_plain, packing_of, part_of, read_packed_piece, read_piece

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint

# Two threads reach the memory's speed where it was measured; more contend for it.
_THREADS = max(1, min(4, os.cpu_count() or 1))

_BATCH = 128 << 20
"""Bytes of variables that a thread reads at once, a quarter of the model's at most: one call of the system for many
small tensors, so that threads seldom wait for Python while the tokenizer is built."""

_AHEAD = 512 << 20
"""Bytes of variables read before they are asked for. On a CPU they are the model's own memory; on an accelerator they
are all that a load holds on the host."""


class CheckpointSupply:
    """Has each variable's values ready in the buffer that it will live in.

    What lies in a file just as the backend can use it is mapped: private, copy on write, no byte read before it is
    needed. All else is read on threads, ahead of being asked for. Memory in flight beyond the model itself is what
    conversions need: a chunk a thread, or a tensor where its values are transformed.

    Args:
        checkpoint: opened, with its weight files local.
        plan: what goes where.
        dtype: `"auto"` keeps each tensor's own dtype; a float dtype converts all floats.
        keep_packed: matrices stay in blocks of small integers, where the file has them so.

    Attributes:
        nbytes: of all variables that come from the checkpoint.
        progress: called with the bytes of each variable that is there.

    Raises:
        WeightError: a tensor holds something other than floats.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, dtype: str, *, keep_packed: bool = False) -> None:
        self._checkpoint = checkpoint
        self._plan = plan
        self._dtype = dtype
        self._keep_packed = keep_packed
        self._new = RandomSupply(dtype if dtype != "auto" else "float32")
        loaded = [variable for variable in plan.variables if variable.name in plan.pieces]
        self._nbytes = {variable.name: self._size(variable) for variable in loaded}
        self._mapped = {variable.name: values for variable in loaded if (values := self._map(variable)) is not None}
        read = [variable for variable in loaded if variable.name not in self._mapped]
        most = min(_BATCH, sum(self._nbytes[variable.name] for variable in read) // 4)
        self._batches = deque(self._batched(read, most))
        self._pending: dict[str, Future[dict[str, dict[str, np.ndarray]]]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="intermodal-read")
        self.nbytes = sum(self._nbytes.values())
        self.progress: Callable[[int], None] = lambda _: None

    def __enter__(self) -> CheckpointSupply:
        """Begin to read: about half of the weights at most, for what is done meanwhile takes memory for a while."""
        for _ in range(min(_THREADS, len(self._batches) // 2)):
            self._submit()
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

    def packing(self, variable: Variable) -> Packing | None:
        """The file's own, where it is kept."""
        pieces = self._plan.pieces.get(variable.name, ()) if self._keep_packed else ()
        return packing_of(self._checkpoint, variable, pieces)

    def value(self, variable: Variable, field: str = "weight") -> Any:
        """The variable's values, on the device."""
        if variable.name not in self._nbytes:
            return self._new.value(variable)
        values = self._mapped.pop(variable.name, None)
        if values is None:
            values = self._read_part(variable.name, field)
        self.progress(values.nbytes)
        return to_backend(values)

    def _read_part(self, name: str, field: str) -> np.ndarray:
        while name not in self._pending:
            self._submit()
        arrays = self._pending[name].result()[name]
        values = arrays.pop(field)
        if not arrays:
            del self._pending[name]
            self._read_ahead()
        return values

    def _size(self, variable: Variable) -> int:
        packing = self.packing(variable)
        if packing is not None:
            return packing.nbytes(variable.shape)
        return math.prod(variable.shape) * numpy_dtype(self.dtype(variable)).itemsize

    def _map(self, variable: Variable) -> np.ndarray | None:
        """A private, copy-on-write mapping of the file, where the backend takes the values as they lie there."""
        pieces = self._plan.pieces[variable.name]
        if self.packing(variable) is not None:
            return None
        if not is_plain(pieces) or pieces[0].source.dtype != self.dtype(variable):
            return None
        values = self._checkpoint.map_copy_on_write(pieces[0].source.name)
        if values is None or not takes_in_place(values := part_of(values, pieces[0].alias.part)):
            return None
        return values

    def _batched(self, variables: Sequence[Variable], most: int) -> Iterator[list[Variable]]:
        batch: list[Variable] = []
        size = 0
        for variable in variables:
            batch.append(variable)
            size += self._nbytes[variable.name]
            if size >= most:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _read_ahead(self) -> None:
        while self._batches and sum(self._nbytes[name] for name in self._pending) < _AHEAD:
            self._submit()

    def _submit(self) -> None:
        batch = self._batches.popleft()
        future = self._pool.submit(self._read, batch)
        self._pending.update((variable.name, future) for variable in batch)

    def _read(self, batch: Sequence[Variable]) -> dict[str, dict[str, np.ndarray]]:
        values: dict[str, dict[str, np.ndarray]] = {}
        together: dict[str, np.ndarray] = {}
        for variable in batch:
            name, pieces, packing = variable.name, self._plan.pieces[variable.name], self.packing(variable)
            if packing is not None:
                values[name] = packing.empty(variable.shape)
                for piece in pieces:
                    read_packed_piece(self._checkpoint, piece, packing, values[name])
                continue
            out = aligned_empty(variable.shape, self.dtype(variable))
            values[name] = {"weight": out}
            if is_plain(pieces) and pieces[0].alias.part is None:
                together[pieces[0].source.name] = out
                continue
            for piece in pieces:
                read_piece(self._checkpoint, piece, part_of(out, piece.place))
        self._checkpoint.read_together(together)
        return values


class BlankSupply:
    """Zeros: for a model whose variables are about to be read from a `.keras` file."""

    def __init__(self, dtypes: dict[str, str], default: str, packings: dict[str, Packing]) -> None:
        self._dtypes, self._default, self._packings = dtypes, default, packings

    def dtype(self, variable: Variable) -> str:
        """The dtype it had when it was saved."""
        return self._dtypes.get(variable.name, self._default)

    def packing(self, variable: Variable) -> Packing | None:
        """The packing it had."""
        return self._packings.get(variable.name)

    def value(self, variable: Variable, field: str = "weight") -> Any:
        """Zeros."""
        packing = self.packing(variable)
        shape, dtype = packing.parts(variable.shape)[field] if packing else (variable.shape, self.dtype(variable))
        return to_backend(np.zeros(shape, numpy_dtype(dtype)))


class RandomSupply:
    """Fresh weights: normal with a small deviation, ones for norms, zeros for biases.

    Args:
        dtype: what to store them in.
        deviation: standard deviation of linears and embeddings (`initializer_range` of the config).
        seed: the same seed gives the same weights on every backend. None takes one from Python's `random`, as Keras's
            own initializers do, so that `keras.utils.set_random_seed` settles these weights too.
    """

    def __init__(self, dtype: str, deviation: float = 0.02, seed: int | None = None) -> None:
        self._dtype, self._deviation = dtype, deviation
        self._random = np.random.default_rng(random.getrandbits(64) if seed is None else seed)

    def dtype(self, variable: Variable) -> str:
        """The dtype given."""
        return self._dtype

    def packing(self, variable: Variable) -> None:
        """None: fresh weights are there to be trained."""

    def value(self, variable: Variable, field: str = "weight") -> Any:
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
