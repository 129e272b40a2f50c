"""Several SafeTensors files as one checkpoint: the index decides which files and tensors there are."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from intermodal.checkpoints.header import MAX_HEADER_BYTES, Header, read_header
from intermodal.checkpoints.strict_json import read_object
from intermodal.errors import CheckpointError, SourceError
from intermodal.sources.base import at_most, check_file_name

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

_WORKERS = 8  # headers of remote shards are asked for side by side


def read_index(repository: Repository, name: str) -> dict[str, str]:
    """Tensor name → file, as an index (`model.safetensors.index.json`) says.

    Raises:
        CheckpointError: it is malformed, names a file outside of its folder or one that is no `.safetensors` file, or
            a file is missing.
    """
    where = f"{name} of {repository.uri}"
    weight_map = read_object(repository, name, limit=MAX_HEADER_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{where} has no weight_map that maps tensor names to files.")
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not file.endswith(".safetensors"):
            raise CheckpointError(f"{where}: {tensor!r} is said to be in {file!r}, expected a .safetensors file.")
    files = set(weight_map.values())
    for file in sorted(files):
        try:
            check_file_name(file, where)
        except SourceError as error:
            raise CheckpointError(f"The index is refused: {error}") from None
    missing = sorted(file for file in files if not repository.has(file))
    if missing:
        note = f" ({repository.note})" if repository.note else ""
        raise CheckpointError(
            f"{where} names {len(files)} files; {len(missing)} are missing: {at_most(missing)}{note}. Download them."
        )
    return weight_map


def read_indexed(repository: Repository, name: str) -> list[Header]:
    """The headers of all files that an index names; each holds exactly the tensors that the index says.

    Raises:
        CheckpointError: as `read_index` and `read_header`; or index and headers contradict each other.
    """
    weight_map = read_index(repository, name)
    expected: dict[str, set[str]] = {}
    for tensor, file in weight_map.items():
        expected.setdefault(file, set()).add(tensor)
    headers = read_headers(repository, sorted(expected))
    for header in headers:
        absent = expected[header.file] - header.tensors.keys()
        extra = header.tensors.keys() - expected[header.file]
        if absent or extra:
            problems = [f"it lacks {at_most(absent, 8)}"] if absent else []
            problems += [f"it also holds {at_most(extra, 8)}"] if extra else []
            raise CheckpointError(
                f"{header.file} of {repository.uri} is not what {name} says: {', and '.join(problems)}. Index and "
                "files must come from the same save; download or save them again."
            )
    return headers


def read_headers(repository: Repository, files: Iterable[str]) -> list[Header]:
    """The headers of several files, in their order."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(lambda file: read_header(repository, file), files))
