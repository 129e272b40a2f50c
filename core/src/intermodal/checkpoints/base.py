"""A checkpoint: names, dtypes and shapes of its tensors, and the reading of them, whatever the file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from intermodal.processing.tokenizer import TokenizerParts
    from intermodal.sources.base import Repository
    from intermodal.weights.packing import Packing


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor.

    Attributes:
        name: as the file spells it.
        dtype: dtype of the values when read, by its ml_dtypes/numpy name (`"bfloat16"`, `"float32"`).
        shape: row-major, as numpy has it.
        nbytes: bytes that it takes in the file.
        file: which file of the repository holds it.
        offset: where in that file its bytes begin.
        stored: the file's own word for how it is stored (`"BF16"`, `"Q4_K"`).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: str
    offset: int
    stored: str


class Checkpoint(ABC):
    """Weights and metadata of one repository, opened without reading any tensor.

    Attributes:
        format: `"safetensors"`, `"gguf"`, …
        dialect: whose tensor names and value conventions it follows: `"huggingface"`, `"gguf"`, …
        family_key: what the catalog is asked for: config.json's `model_type`, or `gguf.<arch>`.
        config: config.json as a dict, empty where the format keeps its own metadata.
        metadata: the format's own key-value metadata.
        tensors: every tensor by its name in the file.
        repository: where the files are.
    """

    format: str
    dialect: str
    family_key: str
    config: dict[str, Any]
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    repository: Repository

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """The tensor's values, in `TensorInfo.dtype` and shape. A new array, or a read-only view."""

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """Read a tensor's values, or some of its rows, into `out`. Thread-safe.

        Args:
            name: the tensor.
            out: C-contiguous, of its shape (of any number of rows along the first axis), and of its dtype or of any
                float dtype that its floats are then rounded to.
            row: the first row to read.
        """
        values = self.read(name)
        out[...] = values[row : row + len(out)] if values.ndim else values

    def read_together(self, targets: Mapping[str, np.ndarray]) -> None:
        """Read several tensors, each into its array, as `read_into` does: in one go where they lie side by side."""
        for name, out in targets.items():
            self.read_into(name, out)

    def packing(self, name: str) -> Packing | None:
        """How a matrix can be held in its packed form, with the very values that `read` gives; None where it cannot."""
        return None

    def read_packed(self, name: str, out: Mapping[str, np.ndarray]) -> None:
        """Read a matrix that has a `packing` into arrays of the shapes and dtypes of `Packing.parts`. Thread-safe."""
        raise NotImplementedError(f"{self.format} checkpoints hold nothing packed")

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """The tensor as a private, writable mapping of the file, or None where the format stores no plain values.

        What is written to it stays in memory and never reaches the file. Calls for one tensor share one memory.
        """
        return None

    def prepare(self) -> None:
        """Make all weight files local, once it is known that they will be loaded."""
        self.repository.fetch(sorted({info.file for info in self.tensors.values()}))

    def tokenizer_parts(self) -> TokenizerParts | None:
        """The tokenizer, where the format carries one itself; None sends the caller to the repository's files."""
        return None

    def close(self) -> None:  # noqa: B027 - most readers hold nothing open
        """Release file handles."""


class CheckpointReader(ABC):
    """Opens checkpoints of one format.

    Attributes:
        format: its name, which is also the file suffix it is found by in the catalog.
    """

    format: str

    @abstractmethod
    def matches(self, repository: Repository) -> bool:
        """Whether this repository holds a checkpoint of this format (looks at names only)."""

    @abstractmethod
    def open(self, repository: Repository) -> Checkpoint:
        """Read and check the headers.

        Raises:
            CheckpointError: malformed or incomplete; names file, key and shape. Or the folder holds several checkpoints
                of this format: the message lists them and says to name one.
        """
