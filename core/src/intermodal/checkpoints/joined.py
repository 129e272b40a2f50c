"""A checkpoint with more weights beside it: files in folders of their own, one for each module behind the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from intermodal.checkpoints.base import Checkpoint, TensorInfo
from intermodal.checkpoints.header import Header, read_header
from intermodal.checkpoints.layouts import Identity
from intermodal.checkpoints.safetensors import SafetensorsCheckpoint
from intermodal.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

    from intermodal.processing.tokenizer import TokenizerParts
    from intermodal.weights.packing import Packing


class JoinedCheckpoint(Checkpoint):
    """A checkpoint, and the tensors of other folders of its repository.

    Args:
        main: the model's own; its format, dialect, config and metadata are the whole's.
        folders: what the names of a folder's tensors begin with → the folder, which holds a `model.safetensors`.

    Raises:
        CheckpointError: a folder has no such file, or it is malformed.
    """

    def __init__(self, main: Checkpoint, folders: Mapping[str, str]) -> None:
        self.format, self.dialect, self.family_key = main.format, main.dialect, main.family_key
        self.config, self.metadata, self.repository = main.config, main.metadata, main.repository
        self._main = main
        headers = [self._header(lead, folder) for lead, folder in folders.items()]
        self._more = SafetensorsCheckpoint(main.repository, headers, Identity("", "", {}))
        self.tensors: Mapping[str, TensorInfo] = {**main.tensors, **self._more.tensors}

    def read(self, name: str) -> np.ndarray:
        """See `Checkpoint.read`."""
        return self._home(name).read(name)

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """See `Checkpoint.read_into`."""
        self._home(name).read_into(name, out, row)

    def read_together(self, targets: Mapping[str, np.ndarray]) -> None:
        """See `Checkpoint.read_together`."""
        for home in (self._main, self._more):
            home.read_together({name: out for name, out in targets.items() if self._home(name) is home})

    def packing(self, name: str) -> Packing | None:
        """See `Checkpoint.packing`."""
        return self._home(name).packing(name)

    def read_packed(self, name: str, out: Mapping[str, np.ndarray]) -> None:
        """See `Checkpoint.read_packed`."""
        self._home(name).read_packed(name, out)

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """See `Checkpoint.map_copy_on_write`."""
        return self._home(name).map_copy_on_write(name)

    def tokenizer_parts(self) -> TokenizerParts | None:
        """The model's own."""
        return self._main.tokenizer_parts()

    def close(self) -> None:
        """Close all files."""
        self._main.close()
        self._more.close()

    def _home(self, name: str) -> Checkpoint:
        return self._more if name in self._more.tensors else self._main

    def _header(self, lead: str, folder: str) -> Header:
        file = f"{folder}/model.safetensors"
        if not self.repository.has(file):
            raise CheckpointError(
                f"{self.repository.uri} has no {file}, which modules.json asks for. Files of other formats are not "
                "read there: load the model with sentence-transformers and save it again, which writes it."
            )
        header = read_header(self.repository, file)
        renamed = {f"{lead}.{name}": replace(info, name=f"{lead}.{name}") for name, info in header.tensors.items()}
        return replace(header, tensors=renamed)
