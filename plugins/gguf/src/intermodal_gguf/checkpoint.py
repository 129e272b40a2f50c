"""The tensors of an opened GGUF checkpoint: values, packed blocks, and reading straight into a caller's buffer."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
import numpy as np
from intermodal.api import Checkpoint, Packing, Repository, TensorInfo, WeightFile

from intermodal_gguf.dequantize import dequantize_into
from intermodal_gguf.packing import PACKINGS, pack_into
from intermodal_gguf.types import STORAGE_TYPES

if TYPE_CHECKING:
    from intermodal.api import TokenizerParts

    from intermodal_gguf.planes import Bytes

_BY_NAME = {storage.name: storage for storage in STORAGE_TYPES.values()}


class GGUFCheckpoint(Checkpoint):
    """A checkpoint of one or several GGUF files; `GGUFReader.open` gives one.

    Its tensor names, the order of rows in attention and its metadata are llama.cpp's, which families translate:
    `config` is empty and `dialect` is `"gguf"`.
    """

    format = "gguf"
    dialect = "gguf"

    def __init__(
        self,
        repository: Repository,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, TensorInfo],
        architecture: str,
    ) -> None:
        self.repository = repository
        self.metadata = metadata
        self.tensors = tensors
        self.family_key = f"gguf.{architecture}"
        self.config: dict[str, Any] = {}
        self._files: dict[str, WeightFile] = {}
        self._lock = Lock()

    def read(self, name: str) -> np.ndarray:
        """The tensor's values: a read-only view of the file where it holds them, a new float32 array for packed types.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        if not _BY_NAME[info.stored].packed:
            return self._file(info).view(info.offset, info.dtype, info.shape)
        out = np.empty(info.shape, np.float32)
        self.read_into(name, out)
        return out

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """Read a tensor's values, or the rows of `out` from `row` on. Thread-safe, with bounded scratch memory.

        `out` is C-contiguous and has the tensor's dtype, or any other floating dtype, to which the values are rounded.

        Raises:
            KeyError: there is no such tensor.
            ValueError: `out` has another shape, is not contiguous or not writable, or would lose integers.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        _check_target(info, out, row)
        file, storage = self._file(info), _BY_NAME[info.stored]
        start = info.offset + (row * info.nbytes // info.shape[0] if row else 0)
        if storage.packed:
            dequantize_into(storage, lambda offset, packed: file.read_into(start + offset, packed), out.reshape(-1))
        elif out.dtype == np.dtype(info.dtype):
            file.read_into(start, out)
        else:
            file.read_converted(start, info.dtype, out)

    def packing(self, name: str) -> Packing | None:
        """How a matrix of one of the commonest packed types is held with the values that `read` gives.

        Raises:
            KeyError: there is no such tensor.
        """
        info = self.tensors[name]
        known = PACKINGS.get(info.stored)
        return known.packing if known and len(info.shape) == 2 else None

    def read_packed(self, name: str, out: Mapping[str, np.ndarray]) -> None:
        """Read a matrix that has a `packing` into contiguous arrays, as `Packing.parts` has them. Thread-safe.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        file = self._file(info)
        pack_into(_BY_NAME[info.stored], lambda offset, packed: file.read_into(info.offset + offset, packed), out)

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """The tensor as a writable mapping that never changes the file; None where its values are packed in blocks.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        if _BY_NAME[info.stored].packed:
            return None
        return self._file(info).private_view(info.offset, info.dtype, info.shape)

    def read_blocks(self, name: str) -> Bytes:
        """The tensor's bytes as they are in the file: a flat, read-only uint8 view.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        return self._file(info).view(info.offset, "uint8", (info.nbytes,))

    def tokenizer_parts(self) -> TokenizerParts | None:
        """The tokenizer the metadata describe, None where they describe none.

        Raises:
            TokenizerError: its kind or its pre-tokenizer is not known here, or the vocabulary contradicts itself.
        """
        from intermodal_gguf.tokenizer import build_tokenizer

        origin = f"{self.repository.uri} (tokenizer.ggml)"
        return build_tokenizer(self.metadata, self.family_key.removeprefix("gguf."), origin)

    def close(self) -> None:
        """Let go of the files. Views that were given out keep theirs mapped until they are dropped too."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _file(self, info: TensorInfo) -> WeightFile:
        with self._lock:
            if info.file not in self._files:
                ends = (other.offset + other.nbytes for other in self.tensors.values() if other.file == info.file)
                path = self.repository.local_path(info.file)
                self._files[info.file] = WeightFile(path, max(ends), or_more=True)
            return self._files[info.file]


def _check_target(info: TensorInfo, out: np.ndarray, row: int) -> None:
    problem = ""
    rows = len(range(info.shape[0])[row : row + out.shape[0]]) if info.shape and out.ndim else 0
    if out.shape != (rows, *info.shape[1:])[: len(info.shape)]:
        problem = f"has shape {out.shape}"
    elif not out.flags.c_contiguous or not out.flags.writeable:
        problem = "is not C-contiguous and writable"
    elif out.dtype != np.dtype(info.dtype) and not (_is_float(out.dtype) and _is_float(np.dtype(info.dtype))):
        problem = f"has dtype {out.dtype}"
    if problem:
        raise ValueError(f"tensor {info.name!r} of shape {info.shape} and dtype {info.dtype}: the target {problem}")


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
