"""Open GGUF checkpoints: tell them by name, read their headers, and check that they hold a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intermodal.api import Checkpoint, CheckpointError, CheckpointReader, Repository

from intermodal_gguf.shards import gguf_files, read_headers

if TYPE_CHECKING:
    from intermodal_gguf.header import Header


class GGUFReader(CheckpointReader):
    """Reads a `.gguf` file, a folder that holds one, or a set split into `-00001-of-00003.gguf` parts."""

    format = "gguf"

    def matches(self, repository: Repository) -> bool:
        """Whether a GGUF file is selected, or the folder holds some and no safetensors.

        A folder with both is the safetensors checkpoint, which is the original; its GGUF files are had by naming one.
        """
        if not gguf_files(repository):
            return False
        return repository.selected is not None or not any(
            name.endswith(".safetensors") and "/" not in name for name in repository.files()
        )

    def open(self, repository: Repository) -> Checkpoint:
        """Read and check the headers of all parts.

        Raises:
            CheckpointError: malformed, truncated, of several kinds, or no model; names file, key or tensor.
        """
        from intermodal_gguf.checkpoint import GGUFCheckpoint

        headers = read_headers(repository)
        metadata = headers[0].metadata
        tensors = {name: info for header in headers for name, info in header.tensors.items()}
        return GGUFCheckpoint(repository, metadata, tensors, _architecture(repository, headers[0]))


def _architecture(repository: Repository, header: Header) -> str:
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise CheckpointError(
            f"{repository.uri}: {header.file} holds no model but is of general.type {kind!r}; name the model's own file"
        )
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise CheckpointError(
            f"{repository.uri}: {header.file} does not name its model (general.architecture is {architecture!r}), so "
            "nothing tells which family reads it"
        )
    return architecture
