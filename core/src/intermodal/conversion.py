"""`convert`: any checkpoint written as a Hugging Face folder, tensor by tensor, without building a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.dtypes import FLOATS, check_storage, numpy_dtype
from intermodal.sources.base import Access

if TYPE_CHECKING:
    from intermodal.examination import Examined
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.weights.map import Weight


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: str = "auto",
    max_shard_size: int | str = "5GB",
    revision: str | None = None,
    token: str | bool | None = None,
    family: str | None = None,
    strict: bool = True,
    config: Mapping[str, Any] | None = None,
    subfolder: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    adapter: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Write a checkpoint as a Hugging Face folder: safetensors, config.json, generation_config.json, tokenizer files.

    Of an adapter the model is written with the adapter merged, as PEFT's `merge_and_unload` does it.

    Everything goes through the family's weight map, from the source's dialect to Hugging Face's names and values. One
    tensor is in memory at a time, and Keras is not needed.

    Args:
        source: a URI, as `load` takes it; the others too are those of `load`.
        destination: the folder. It is written beside its place and renamed when whole.
        dtype: of the tensors; `"auto"` keeps each one's own, block-quantised ones become float32.
        max_shard_size: bytes, or `"5GB"`: more than that is written as several files and an index.

    Returns:
        The folder.

    Raises:
        IntermodalError: something is refused; nothing is left behind then.
    """
    from intermodal.commands.console import progress_bar
    from intermodal.examination import examine
    from intermodal.generation.settings import GenerationSettings
    from intermodal.loading import check_tied_copies
    from intermodal.processing.load import checkpoint_tokenizer, read_generation_config
    from intermodal.weights.exporter import export_values, exported_config, exported_tensors, parse_size, write_folder

    check_storage(dtype)
    shard = parse_size(max_shard_size)
    access = Access(revision, token, cache_dir, local_files_only, False, subfolder)
    adapting = None if adapter is None else str(adapter)
    examined = examine(str(source), access=access, family=family, strict=strict, config=config, adapter=adapting)
    examined.checkpoint.prepare()
    check_tied_copies(examined)
    tokenizer = checkpoint_tokenizer(examined.checkpoint)
    settings = GenerationSettings.from_files(
        read_generation_config(examined.checkpoint), examined.config.raw, tokenizer
    )
    tensors = exported_tensors(
        examined.weight_map, lambda name: _dtype(examined, name, dtype), with_head=examined.weight_map.has_head
    )
    total = sum(int(np.prod(tensor.shape)) * numpy_dtype(tensor.dtype).itemsize for tensor in tensors)
    with progress_bar("Writing weights", total=total, unit="bytes", enabled=progress) as advance:
        write_folder(
            destination,
            tensors=tensors,
            read=lambda tensor: export_values(tensor, lambda weight: _values(examined, weight, tensor.dtype)),
            config=exported_config(
                examined.config,
                examined.family,
                examined.task,
                {tensor.dtype for tensor in tensors if len(tensor.shape) > 1},
            ),
            generation=settings.to_hf(),
            tokenizer=tokenizer,
            provenance=_provenance(examined, dtype),
            more=_more_files(examined, tokenizer),
            max_shard_bytes=shard,
            progress=advance,
        )
    return Path(destination)


def _more_files(examined: Examined, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """JSON files of the task and of the processor: name → content."""
    from intermodal.processing.load_processor import processor_from_repository

    files = examined.sentences.files(examined.config.hidden_size) if examined.sentences else {}
    repository = examined.checkpoint.repository
    processor = processor_from_repository(repository, examined.family, tokenizer, examined.config)
    return {**files, **(processor.files() if processor else {})}


def _dtype(examined: Examined, variable: str, dtype: str) -> str:
    if dtype != "auto":
        return dtype
    own = examined.plan.pieces[variable][0].source.dtype
    return own if own in FLOATS else "float32"


def _values(examined: Examined, weight: Weight, dtype: str) -> np.ndarray:
    from intermodal.weights.reading import read_piece

    piece = next(piece for piece in examined.plan.pieces[weight.variable] if piece.weight.name == weight.name)
    out = np.empty(weight.shape, numpy_dtype(dtype))
    read_piece(examined.checkpoint, piece, out)
    return out


def _provenance(examined: Examined, dtype: str) -> dict[str, Any]:
    from intermodal import __version__

    return {
        "converted_from": examined.uri,
        "revision": examined.checkpoint.repository.revision,
        "format": examined.checkpoint.format,
        "family": examined.family.name,
        "plugin": str(examined.owner.plugin),
        "intermodal_version": __version__,
        "dtype": dtype,
        "ignored": dict(examined.plan.ignored),
        "warnings": list(examined.warnings),
    }
