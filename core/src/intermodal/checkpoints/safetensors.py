"""SafeTensors checkpoints: the files, the config beside them, and the reading of tensors."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.base import Checkpoint, CheckpointReader, TensorInfo
from intermodal.checkpoints.header import Header, read_header
from intermodal.checkpoints.layouts import CONSOLIDATED, CONSOLIDATED_FILES, PARAMS, Identity, identify
from intermodal.checkpoints.shards import read_indexed
from intermodal.dtypes import is_float
from intermodal.errors import CheckpointError
from intermodal.sources.base import at_most

if TYPE_CHECKING:
    import numpy as np

    from intermodal.checkpoints.weight_file import WeightFile
    from intermodal.sources.base import Repository

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


class SafetensorsCheckpoint(Checkpoint):
    """Weights in one or several SafeTensors files, with Hugging Face's config.json beside them, or a params.json.

    Args:
        repository: where the files are.
        headers: of all weight files, checked.
        identity: what model they are.
    """

    format = "safetensors"

    def __init__(self, repository: Repository, headers: list[Header], identity: Identity) -> None:
        self.repository = repository
        self.dialect, self.family_key, self.config = identity.dialect, identity.family_key, identity.config
        self.tensors: Mapping[str, TensorInfo] = {
            name: info for header in headers for name, info in header.tensors.items()
        }
        # Files of one save repeat each other; where they differ, the first counts.
        in_headers = {key: value for header in reversed(headers) for key, value in header.metadata.items()}
        self.metadata: Mapping[str, Any] = identity.metadata or in_headers
        self._sizes = {header.file: header.size for header in headers}
        self._files: dict[str, WeightFile] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> np.ndarray:
        """A read-only view of the tensor through a mapping of its file, which is fetched if it is remote.

        Raises:
            CheckpointError: there is no such tensor, or the file is not what its header said.
        """
        info = self._info(name)
        return self._file(info).view(info.offset, info.dtype, info.shape)

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """Read the tensor, or the rows of `out` from `row` on, by positional reads. Thread-safe.

        Raises:
            CheckpointError: `out` is no C-contiguous, writable array of such a shape and dtype; or as `read`.
        """
        info = self._info(name)
        _check_target(info, out, row)
        offset = info.offset + (row * info.nbytes // info.shape[0] if row else 0)
        if out.dtype.name == info.dtype:
            self._file(info).read_into(offset, out)
        else:
            self._file(info).read_converted(offset, info.dtype, out)

    def read_together(self, targets: Mapping[str, np.ndarray]) -> None:
        """Read several tensors: those that lie side by side in a file, unconverted, by one call of the system.

        Raises:
            CheckpointError: as `read_into`.
        """
        plain = []
        for name, out in targets.items():
            info = self._info(name)
            _check_target(info, out, 0)
            if out.dtype.name == info.dtype:
                plain.append(info)
            else:
                self.read_into(name, out)
        for run in _side_by_side(plain):
            self._file(run[0]).read_into(run[0].offset, *(targets[info.name] for info in run))

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """The tensor as a writable mapping that never changes the file; None where its address in it is an odd one."""
        info = self._info(name)
        return self._file(info).private_view(info.offset, info.dtype, info.shape)

    def close(self) -> None:
        """Close the files; views that were given out stay valid."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _info(self, name: str) -> TensorInfo:
        info = self.tensors.get(name)
        if info is None:
            raise CheckpointError(f"{self.repository.uri} has no tensor {name!r}; it has: {at_most(self.tensors, 8)}.")
        return info

    def _file(self, info: TensorInfo) -> WeightFile:
        from intermodal.checkpoints.weight_file import WeightFile

        with self._lock:
            if info.file not in self._files:
                path = self.repository.local_path(info.file)
                self._files[info.file] = WeightFile(path, self._sizes[info.file])
            return self._files[info.file]


def _side_by_side(infos: list[TensorInfo]) -> list[list[TensorInfo]]:
    """Tensors in runs that have no gap between them."""
    runs: list[list[TensorInfo]] = []
    for info in sorted(infos, key=lambda info: (info.file, info.offset)):
        last = runs[-1][-1] if runs else None
        if last is not None and (last.file, last.offset + last.nbytes) == (info.file, info.offset):
            runs[-1].append(info)
        else:
            runs.append([info])
    return runs


def _check_target(info: TensorInfo, out: np.ndarray, row: int) -> None:
    rows = slice(row, row + out.shape[0]) if out.ndim and info.shape else None
    shape = (len(range(info.shape[0])[rows]), *info.shape[1:]) if rows else info.shape
    dtypes = is_float(info.dtype) and is_float(out.dtype.name)
    if out.shape != shape or not (dtypes or out.dtype.name == info.dtype):
        raise CheckpointError(
            f"{info.name} in {info.file} has shape {info.shape} and dtype {info.dtype}; from row {row} on it cannot be "
            f"read into an array of {out.shape} and {out.dtype.name}."
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise CheckpointError(f"{info.name} in {info.file} can only be read into a C-contiguous, writable array.")


class SafetensorsReader(CheckpointReader):
    """Finds and opens SafeTensors checkpoints.

    Args:
        variant: read `model.fp16.safetensors` (variant "fp16") in place of `model.safetensors`.
    """

    format = "safetensors"

    def __init__(self, variant: str | None = None) -> None:
        dot = f".{variant}" if variant else ""
        self._single = f"model{dot}.safetensors"
        self._index = f"model.safetensors.index{dot}.json"
        self._variant = variant

    def matches(self, repository: Repository) -> bool:
        """Whether a SafeTensors file is selected, or the folder has one or an index that could be meant."""
        if repository.selected is not None:
            return repository.selected.endswith((".safetensors", ".safetensors.index.json"))
        return any(
            name in (self._index, *CONSOLIDATED_FILES) or (name.endswith(".safetensors") and "/" not in name)
            for name in repository.files()
        )

    def open(self, repository: Repository) -> SafetensorsCheckpoint:
        """Read and check all headers, by ranges where the files are remote.

        Raises:
            CheckpointError: it is not clear which files are meant, they are malformed or incomplete, or there is no
                config.json.
            ConfigError: that is malformed, or has no `model_type`.
        """
        name = self._chosen(repository)
        headers = read_indexed(repository, name) if name.endswith(".json") else [read_header(repository, name)]
        return SafetensorsCheckpoint(repository, headers, identify(repository, name))

    def _chosen(self, repository: Repository) -> str:
        """The one file that holds the weights, or the index of them."""
        uri = repository.uri
        if repository.selected is not None:
            shard = _SHARD.fullmatch(repository.selected)
            if shard is not None and int(shard[3]) > 1:
                raise CheckpointError(f"{uri} is one of {int(shard[3])} shards of a checkpoint. Name their folder.")
            return repository.selected
        files = [name for name in repository.files() if name.endswith(".safetensors") and "/" not in name]
        standard = [name for name in (self._single, self._index) if repository.has(name)]
        if len(standard) == 2:
            raise CheckpointError(
                f"{uri} holds both {self._single} and {self._index}, so it is not clear which are the weights. Name "
                f"the one that is meant ({uri}/{self._single}), or remove the other."
            )
        if standard:
            return standard[0]
        if self._variant:
            raise CheckpointError(f"{uri} has no variant {self._variant!r} ({self._single}); it has: {at_most(files)}.")
        if files == ["adapter_model.safetensors"]:
            raise CheckpointError(
                f"{uri} is an adapter (adapter_model.safetensors), not a model: it only holds what was trained on top "
                "of one. With the adapter_config.json that belongs to it, load(model, adapter=…) puts it on its model."
            )
        models = [name for name in files if not name.startswith((CONSOLIDATED, "adapter_model"))]
        consolidated = [name for name in CONSOLIDATED_FILES if repository.has(name) and repository.has(PARAMS)]
        if not models and len(consolidated) == 1:
            return consolidated[0]
        shards = [name for name in models if _SHARD.fullmatch(name)]
        if shards:
            raise CheckpointError(
                f"{uri} holds shards ({at_most(shards, 4)}) but not their index, {self._index}, which says what "
                "belongs together. Download it too."
            )
        if len(models) == 1:
            return models[0]
        raise CheckpointError(
            f"{uri} holds {at_most(files)}, and none is named {self._single}. Name the one that is meant: {uri}/FILE"
        )
