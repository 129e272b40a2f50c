"""Writes SafeTensors files one tensor at a time, laid out so that every later load can use them without a copy."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from intermodal.checkpoints.layout import TensorSpec, checked_specs, deal, header_bytes, misfit
from intermodal.errors import CheckpointError

_CHUNK = 8 << 20
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


Read = Callable[[str], np.ndarray]
"""Gives a tensor's values by its name; called once for each, and forgotten before the next."""

Progress = Callable[[int], None]
"""Told how many more bytes have been written."""


def write_file(
    path: Path,
    specs: Iterable[tuple[str, str, tuple[int, ...]]],
    read: Read,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write one file beside its place and rename it into it when it is whole.

    The data begins at a multiple of 64 bytes (the header is padded with spaces, as the format allows), and so does
    each tensor whose predecessors' sizes allow it: gaps are not legal, so tensors of odd sizes come last. A file of
    that name that is mapped somewhere stays as it was for those who map it.

    Args:
        path: the file.
        specs: name, dtype and shape of every tensor.
        read: gives the values.
        metadata: the file's `__metadata__`, text to text.
        progress: told of bytes written.

    Raises:
        CheckpointError: a name is used twice, a dtype is unknown, or `read` gives something other than was specified.
            Nothing is left behind.
        OSError: the disk is full or may not be written to; nothing is left behind either.
    """
    _write_all(path.parent, {path.name: checked_specs(specs)}, read, metadata or {}, progress)


def write_sharded(
    folder: Path,
    specs: Iterable[tuple[str, str, tuple[int, ...]]],
    read: Read,
    max_shard_bytes: int = 5_000_000_000,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write a checkpoint as `model.safetensors`, or as `model-00001-of-0000N.safetensors` and their index.

    Tensors are dealt out in the order given, as huggingface_hub deals them out: a shard ends before the tensor that
    would take it over `max_shard_bytes`, and a tensor larger than that has a shard of its own.

    Args:
        folder: where to; it must exist. Shards are renamed into place when all are written, the index last.
        specs: name, dtype and shape of every tensor.
        read: gives the values.
        max_shard_bytes: bytes of tensors in one file.
        metadata: each file's `__metadata__`; `{"format": "pt"}` if not given, which transformers asks for.
        progress: told of bytes written.

    Returns:
        The names of the files written.

    Raises:
        CheckpointError: as `write_file`; or the folder holds weight files that would be left over beside the new ones.
    """
    metadata = {"format": "pt"} if metadata is None else metadata
    shards = deal(checked_specs(specs), max_shard_bytes)
    count = len(shards)
    names = [_SINGLE] if count == 1 else [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    _refuse_leftovers(folder, [*names, _INDEX] if count > 1 else names)
    _write_all(folder, dict(zip(names, shards, strict=True)), read, metadata, progress, drop=_INDEX)
    if count > 1:
        _write_index(folder, names, shards)
    return names


def _write_all(
    folder: Path,
    files: Mapping[str, Sequence[TensorSpec]],
    read: Read,
    metadata: Mapping[str, str],
    progress: Progress | None,
    drop: str | None = None,
) -> None:
    """Write files beside their places; when all are whole, remove the file `drop`, and rename them."""
    beside = {name: folder / f".{name}.{uuid.uuid4().hex[:8]}.tmp" for name in files}
    try:
        for name, specs in files.items():
            with beside[name].open("xb") as file:
                _write(file, specs, read, metadata, progress or (lambda _: None))
        if drop is not None:
            # An old index beside half of the new shards would name a mixture; without one they are refused.
            (folder / drop).unlink(missing_ok=True)
        for name, temporary in beside.items():
            temporary.replace(folder / name)
    finally:
        for temporary in beside.values():
            temporary.unlink(missing_ok=True)


def _write(
    file: BinaryIO, specs: Sequence[TensorSpec], read: Read, metadata: Mapping[str, str], progress: Progress
) -> None:
    ordered = sorted(specs, key=misfit)
    file.write(header_bytes(ordered, metadata))
    for spec in ordered:
        values = read(spec.name)
        if values.dtype.name != spec.dtype or values.shape != tuple(spec.shape):
            raise CheckpointError(
                f"{spec.name} was to be written as {spec.dtype} {tuple(spec.shape)}, but came as {values.dtype.name} "
                f"{values.shape}."
            )
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        for start in range(0, len(data), _CHUNK):
            progress(file.write(data[start : start + _CHUNK]))


def _refuse_leftovers(folder: Path, written: Sequence[str]) -> None:
    """Old shards beside a new set would make it unclear what the checkpoint is; deleting them is not for us to do."""
    stale = sorted(
        path.name
        for pattern in ("model*.safetensors", "model*.safetensors.index*.json")
        for path in folder.glob(pattern)
        if path.name not in written and path.name != _INDEX
    )
    if stale:
        raise CheckpointError(
            f"{folder} already holds other weights: {', '.join(stale[:8])}. Remove them, or write to another folder."
        )


def _write_index(folder: Path, names: Sequence[str], shards: Sequence[Sequence[TensorSpec]]) -> None:
    weight_map = {spec.name: name for name, shard in zip(names, shards, strict=True) for spec in shard}
    total = sum(spec.nbytes for shard in shards for spec in shard)
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"
    temporary = folder / f".{_INDEX}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / _INDEX)
    finally:
        temporary.unlink(missing_ok=True)
