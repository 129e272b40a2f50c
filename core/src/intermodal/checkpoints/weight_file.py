"""One local file with weights: views through a mapping of it, and positional reads into a caller's buffer."""

from __future__ import annotations

import functools
import math
import os
import threading
from pathlib import Path

import numpy as np

from intermodal.dtypes import numpy_dtype
from intermodal.errors import CheckpointError

CHUNK = 128 << 20
"""Bytes of one read. A thread needs Python's lock between reads, and whoever has it may keep it long, so they are
large; yet not so large that an interrupt waits for seconds."""

_CONVERTED = 1 << 20  # bytes converted at a time: they stay in a second-level cache between the read and the conversion
_VECTOR = 1024  # buffers that one call may fill (IOV_MAX)


class WeightFile:
    """A file that stays open, so that everything comes from the same bytes even if another takes its name.

    Args:
        path: the file.
        size: bytes that it must have.
        or_more: it may have more, where a header does not tell all.

    Raises:
        CheckpointError: it cannot be opened, or has another size than its header said.
    """

    def __init__(self, path: Path, size: int, *, or_more: bool = False) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be opened: {error}") from error
        self.path, self._size, self._or_more = path, size, or_more
        self._seek = threading.Lock()
        self._check_size()

    def view(self, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A read-only view of a tensor through a mapping; a copy where the file has it at an odd address.

        Args:
            offset: where its bytes begin in the file.
            dtype: numpy or ml_dtypes name.
            shape: row-major.
        """
        values = _at(self._mapping, offset, dtype, shape)
        if not values.flags.aligned:
            values = values.copy()
            values.flags.writeable = False
        return values

    def private_view(self, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """A writable view whose changes stay in memory (copy on write), or None where the address is an odd one."""
        values = _at(self._private_mapping, offset, dtype, shape)
        return values if values.flags.aligned else None

    def read_into(self, offset: int, *targets: np.ndarray) -> None:
        """Fill arrays, one behind another, with the bytes from `offset` on. Thread-safe.

        Args:
            offset: where they begin in the file.
            targets: C-contiguous and writable.

        Raises:
            CheckpointError: the file ended first, or could not be read.
        """
        waiting = [target.reshape(-1).view(np.uint8).data for target in targets if target.nbytes]
        waiting.reverse()
        while waiting:
            try:
                count = self._read(offset, _up_to_chunk(waiting))
            except OSError as error:
                raise CheckpointError(f"{self.path} cannot be read at byte {offset}: {error}") from error
            if count == 0:
                raise CheckpointError(f"{self.path} was truncated while it was read: it ends at byte {offset}.")
            offset += count
            while count:
                first = waiting.pop()
                if count < len(first):
                    waiting.append(first[count:])
                count -= min(count, len(first))

    def read_converted(self, offset: int, dtype: str, out: np.ndarray) -> None:
        """Read values stored as `dtype` from `offset` on into `out`, rounded to its dtype, by chunks. Thread-safe.

        Args:
            offset: where they begin in the file.
            dtype: numpy or ml_dtypes name.
            out: C-contiguous and writable.

        Raises:
            CheckpointError: as `read_into`.
        """
        kind, flat = numpy_dtype(dtype), out.reshape(-1)
        scratch = np.empty(min(flat.size, max(1, _CONVERTED // kind.itemsize)), kind)
        for start in range(0, flat.size, max(1, scratch.size)):
            values = scratch[: flat.size - start]
            self.read_into(offset + start * kind.itemsize, values)
            with np.errstate(over="ignore"):  # what a narrow dtype cannot hold is infinite in it
                np.copyto(flat[start : start + len(values)], values, casting="unsafe")

    def close(self) -> None:
        """Close the file. Views that were given out stay valid: each keeps its mapping."""
        self._file.close()

    def _read(self, offset: int, targets: list[memoryview]) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), targets, offset)
        with self._seek:  # Windows has no positional read
            self._file.seek(offset)
            return self._file.readinto(targets[0]) or 0

    @functools.cached_property
    def _mapping(self) -> np.ndarray:
        return self._map("r")

    @functools.cached_property
    def _private_mapping(self) -> np.ndarray:
        return self._map("c")

    def _map(self, mode: str) -> np.ndarray:
        self._check_size()  # touching a mapping behind the end of its file kills the process
        try:
            return np.memmap(self._file, dtype=np.uint8, mode=mode).view(np.ndarray)  # pyright: ignore[reportCallIssue, reportArgumentType]
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} cannot be mapped into memory: {error}") from error

    def _check_size(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size < self._size or (size > self._size and not self._or_more):
            raise CheckpointError(
                f"{self.path} has {size} bytes, but its header was made for {self._size}: it was truncated or "
                "replaced. Download it again (force_download=True)."
            )


def _at(mapping: np.ndarray, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = numpy_dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    return mapping[offset : offset + nbytes].view(kind).reshape(shape)


def _up_to_chunk(waiting: list[memoryview]) -> list[memoryview]:
    """The next buffers to fill, from the end of `waiting` on, the last one cut off where they come to `CHUNK` bytes."""
    taken, room = [], CHUNK
    for view in reversed(waiting):
        if not room or len(taken) == _VECTOR:
            break
        taken.append(view[:room])
        room -= len(taken[-1])
    return taken
