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

CHUNK = 8 << 20  # bytes of one read: large enough for full speed, small enough to interrupt


class WeightFile:
    """A file that stays open, so that everything comes from the same bytes even if another takes its name.

    Args:
        path: the file.
        size: bytes that it must have.

    Raises:
        CheckpointError: it cannot be opened, or has another size than its header said.
    """

    def __init__(self, path: Path, size: int) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be opened: {error}") from error
        self.path, self._size = path, size
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

    def read_into(self, offset: int, out: np.ndarray) -> None:
        """Read `out.nbytes` bytes from `offset` on into `out`, which must be C-contiguous and writable. Thread-safe.

        Raises:
            CheckpointError: the file ended first, or could not be read.
        """
        target = out.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(target):
            try:
                count = self._read(offset + done, target[done : done + CHUNK])
            except OSError as error:
                raise CheckpointError(f"{self.path} cannot be read at byte {offset + done}: {error}") from error
            if count == 0:
                raise CheckpointError(f"{self.path} was truncated while it was read: it ends at byte {offset + done}.")
            done += count

    def close(self) -> None:
        """Close the file. Views that were given out stay valid: each keeps its mapping."""
        self._file.close()

    def _read(self, offset: int, target: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [target], offset)
        with self._seek:  # Windows has no positional read
            self._file.seek(offset)
            return self._file.readinto(target) or 0

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
        if size != self._size:
            raise CheckpointError(
                f"{self.path} has {size} bytes, but its header was made for {self._size}: it was truncated or "
                "replaced. Download it again (force_download=True)."
            )


def _at(mapping: np.ndarray, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = numpy_dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    return mapping[offset : offset + nbytes].view(kind).reshape(shape)
