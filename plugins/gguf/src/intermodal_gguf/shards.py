"""Which GGUF files of a repository make up one checkpoint: a single file, or all parts of a split one."""

import re
from collections.abc import Mapping
from typing import Any

from intermodal.api import CheckpointError, Repository

from intermodal_gguf.header import Header, read_header

SUFFIX = ".gguf"
MAX_SHARDS = 4096
"""Parts that a split checkpoint may have; the largest published have below 100."""

_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def gguf_files(repository: Repository) -> list[str]:
    """Names of the GGUF files a reader may choose from: the selected one, else all, a split set by its first part."""
    if repository.selected is not None:
        return [repository.selected] if repository.selected.lower().endswith(SUFFIX) else []
    names = sorted(name for name in repository.files() if name.lower().endswith(SUFFIX))
    shards = {name: match for name in names if (match := _SHARD.fullmatch(name))}
    return [name for name in names if name not in shards or int(shards[name]["number"]) == 1] or names[:1]


def read_headers(repository: Repository) -> list[Header]:
    """Read the headers of all files of the checkpoint, in the order of their numbers.

    Raises:
        CheckpointError: there are several to choose from, a part is missing or belongs to another set, or a header
            is malformed.
    """
    names = gguf_files(repository)
    if len(names) > 1:
        listed = "\n  ".join(names)
        raise CheckpointError(
            f"{repository.uri} holds {len(names)} GGUF checkpoints; name the file to load, as in "
            f"{repository.uri.rstrip('/')}/{names[0]}:\n  {listed}"
        )
    header = read_header(repository, names[0])
    count = header.metadata.get("split.count", 1)
    match = _SHARD.fullmatch(names[0])
    if count in (0, 1) and (match is None or int(match["count"]) == 1):
        return [header]
    if match is None or int(match["count"]) != count:
        raise CheckpointError(
            f"{repository.uri}: {names[0]} says it is one of {count} parts (split.count), which its name does not: "
            f"parts are named like model-00001-of-{_five_digits(count)}.gguf, so give the file its original name"
        )
    if count > MAX_SHARDS:
        raise CheckpointError(f"{repository.uri}: {names[0]} is split into {count} parts, over {MAX_SHARDS}")
    return _read_shards(repository, match["prefix"], header, count)


def _read_shards(repository: Repository, prefix: str, found: Header, count: int) -> list[Header]:
    names = [f"{prefix}-{number:05d}-of-{count:05d}{SUFFIX}" for number in range(1, count + 1)]
    available = repository.files()
    if missing := [name for name in names if name not in available]:
        raise CheckpointError(
            f"{repository.uri}: {len(missing)} of {count} parts are missing: {', '.join(missing[:5])}"
        )
    headers = [found if name == found.file else read_header(repository, name) for name in names]
    seen: dict[str, str] = {}
    for number, header in enumerate(headers):
        _check_split(repository, header.file, header.metadata, number, count)
        for name in header.tensors:
            if name in seen:
                raise CheckpointError(f"{repository.uri}: tensor {name!r} is in both {seen[name]} and {header.file}")
            seen[name] = header.file
    announced = headers[0].metadata.get("split.tensors.count", len(seen))
    if announced != len(seen):
        raise CheckpointError(
            f"{repository.uri}: the {count} parts hold {len(seen)} tensors together, but {headers[0].file} announces "
            f"{announced} (split.tensors.count): a part belongs to another checkpoint"
        )
    return headers


def _check_split(repository: Repository, name: str, metadata: Mapping[str, Any], number: int, count: int) -> None:
    for key, expected in (("split.no", number), ("split.count", count)):
        if metadata.get(key) != expected:
            raise CheckpointError(
                f"{repository.uri}: {name} has {key} = {metadata.get(key)}, expected {expected} from its name: it was "
                "renamed, or belongs to another checkpoint"
            )


def _five_digits(count: Any) -> str:
    return f"{count:05d}" if isinstance(count, int) and count >= 0 else str(count)
