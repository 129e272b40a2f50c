"""The tensors of an opened GGUF checkpoint: values, packed blocks, and reading straight into a caller's buffer."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
import numpy as np
from intermodal.api import Checkpoint, CheckpointError, Repository, TensorInfo

from intermodal_gguf.dequantize import dequantize_into
from intermodal_gguf.types import STORAGE_TYPES

if TYPE_CHECKING:
    from intermodal.api import TokenizerParts

    from intermodal_gguf.planes import Bytes

_BY_NAME = {storage.name: storage for storage in STORAGE_TYPES.values()}
_CAST_CHUNK = 1 << 18


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
        self._maps: dict[str, Bytes] = {}
        self._lock = Lock()

    def read(self, name: str) -> np.ndarray:
        """The tensor's values: a read-only view of the file where it holds them, a new float32 array for packed types.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        if not _BY_NAME[info.stored].packed:
            return self.read_blocks(name).view(np.dtype(info.dtype)).reshape(info.shape)
        out = np.empty(info.shape, np.float32)
        self.read_into(name, out)
        return out

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Read a tensor's values into `out`: C-contiguous, of its shape. Thread-safe, with bounded scratch memory.

        `out` has the tensor's dtype, or any other floating dtype, to which the values are then rounded.

        Raises:
            KeyError: there is no such tensor.
            ValueError: `out` has another shape, is not contiguous or not writable, or would lose integers.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        _check_target(info, out)
        flat = out.reshape(-1)
        packed = self.read_blocks(name)
        storage = _BY_NAME[info.stored]
        if storage.packed:
            dequantize_into(storage, packed, flat)
        elif out.dtype == np.dtype(info.dtype):
            self._read_bytes(info, flat.view(np.uint8))
        else:
            values = packed.view(np.dtype(info.dtype))
            with np.errstate(over="ignore"):
                for start in range(0, len(values), _CAST_CHUNK):
                    np.copyto(flat[start : start + _CAST_CHUNK], values[start : start + _CAST_CHUNK], casting="unsafe")

    def read_blocks(self, name: str) -> Bytes:
        """The tensor's bytes as they are in the file: a flat, read-only uint8 view.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: the file is shorter than when it was opened.
        """
        info = self.tensors[name]
        return self._map(info.file)[info.offset : info.offset + info.nbytes]

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
            self._maps.clear()

    def _map(self, file: str) -> Bytes:
        with self._lock:
            if file not in self._maps:
                self._maps[file] = self._open(file)
            return self._maps[file]

    def _open(self, file: str) -> Bytes:
        needed = max((info.offset + info.nbytes for info in self.tensors.values() if info.file == file), default=0)
        path = self.repository.local_path(file)
        size = path.stat().st_size
        if size < needed:
            raise CheckpointError(
                f"{self.repository.uri}: {file} has {size:,} bytes, and its header asks for {needed:,}; it has been "
                "truncated since it was opened: download it again"
            )
        with path.open("rb") as handle:
            mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.uint8)

    def _read_bytes(self, info: TensorInfo, out: Bytes) -> None:
        # Reading into memory that is there already is faster than copying from a mapping, page by page.
        view, done = out.data, 0
        with self.repository.local_path(info.file).open("rb", buffering=0) as handle:
            handle.seek(info.offset)
            while done < info.nbytes:
                count = handle.readinto(view[done:])
                if not count:
                    raise CheckpointError(
                        f"{self.repository.uri}: {info.file} ends within tensor {info.name!r}: it was truncated while "
                        "it was read"
                    )
                done += count


def _check_target(info: TensorInfo, out: np.ndarray) -> None:
    problem = ""
    if out.shape != info.shape:
        problem = f"has shape {out.shape}"
    elif not out.flags.c_contiguous or not out.flags.writeable:
        problem = "is not C-contiguous and writable"
    elif out.dtype != np.dtype(info.dtype) and not (_is_float(out.dtype) and _is_float(np.dtype(info.dtype))):
        problem = f"has dtype {out.dtype}"
    if problem:
        raise ValueError(f"tensor {info.name!r} of shape {info.shape} and dtype {info.dtype}: the target {problem}")


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
