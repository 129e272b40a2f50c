"""`load`: the whole way of the data, one line a hop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.backend import choose
from intermodal.dtypes import FLOATS, Storage, check_storage, compute_dtype, default_storage
from intermodal.sources.base import Access

if TYPE_CHECKING:
    from intermodal.config import ModelConfig
    from intermodal.examination import Examined
    from intermodal.tasks.base import TaskModel
    from intermodal.weights.supply import CheckpointSupply


def load(
    uri: str | Path,
    task: str | None = None,
    *,
    dtype: str = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    family: str | None = None,
    strict: bool = True,
    backend: str | None = None,
    device: str | None = None,
    config: Mapping[str, Any] | ModelConfig | None = None,
    subfolder: str | None = None,
    variant: str | None = None,
    key_mapping: Mapping[str, str] | None = None,
    ignore_mismatched_sizes: bool = False,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    adapter: str | Path | None = None,
    progress: bool = True,
) -> TaskModel:
    """Load a checkpoint as a Keras model.

    Args:
        uri: a folder or file, `hf://org/name[@revision][/subfolder]`, or `pkg://package/file`. Of a LoRA adapter the
            model is loaded that its adapter_config.json names, with the adapter on it. A `.keras` file that
            `model.save` wrote is read as Keras reads it; all but backend and device is settled in it.
        task: the Hub's name of a task (`"text-generation"`, `"text-classification"`, `"feature-extraction"`, …).
            None: what the checkpoint was saved as. Another than that makes a new head, and says so.
        dtype: what weights are *stored* in: `"auto"` (what is fastest here of all that keeps the checkpoint's values;
            `report.storage_reason` says which and why), or `"float32"`, `"bfloat16"`, `"float16"`. What they are
            computed in follows by rule: float32 on a CPU, the stored dtype on an accelerator.
        revision: branch, tag or commit on the Hub; it is resolved once, and all files are read at that commit.
        token: of the Hub; None: the one that `intermodal.login` or HF_TOKEN left.
        family: the family or plugin to use where a checkpoint does not say, or two plugins claim it.
        strict: unknown config keys that may matter, and unexpected tensors, are errors; else they are reported.
        backend: `"jax"`, `"torch"` or `"tensorflow"`; only before Keras is imported.
        device: as `keras.device` takes it: `"cpu"`, `"gpu:0"`.
        config: values that replace config.json's; or a typed config that takes its place.
        variant: of SafeTensors files: `"fp16"` reads `model.fp16.safetensors`.
        key_mapping: regular expression → replacement, for tensors whose names differ from the family's.
        ignore_mismatched_sizes: weights whose tensor has another shape than the config says are made anew, which the
            report says; else they are an error.
        subfolder, cache_dir, local_files_only, force_download: as huggingface_hub takes them.
        adapter: where a LoRA adapter is that goes on the model, by PEFT's files.
        progress: show progress bars in a terminal.

    Returns:
        The task's model, with `model.report` telling what was loaded from where.

    Raises:
        IntermodalError: something is refused; the message says what, and what to do.
    """
    check_storage(dtype)
    choose(backend)
    if str(uri).endswith(".keras"):
        from intermodal.tasks.restore import load_keras_file

        settled = {"task": task, "dtype": dtype, "config": config, "family": family, "key_mapping": key_mapping}
        elsewhere = {"revision": revision, "subfolder": subfolder, "variant": variant, "adapter": adapter}
        with _device_scope(device):
            return load_keras_file(uri, **settled, **elsewhere, ignore_mismatched_sizes=ignore_mismatched_sizes or None)
    from intermodal.examination import examine

    access = Access(revision, token, cache_dir, local_files_only, force_download, subfolder)
    examined = examine(
        str(uri),
        task,
        access=access,
        family=family,
        strict=strict,
        config=config,
        variant=variant,
        key_mapping=key_mapping,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        adapter=None if adapter is None else str(adapter),
    )
    return load_examined(examined, dtype, device=device, progress=progress)


def load_examined(
    examined: Examined, dtype: str = "auto", *, device: str | None = None, progress: bool = True
) -> TaskModel:
    """The second half of `load`, from a plan to a model with its report. Args are those of `load`."""
    from intermodal.adapters.checkpoint import AdaptedCheckpoint
    from intermodal.commands.console import say
    from intermodal.plugins import manager
    from intermodal.weights.describe import describe
    from intermodal.weights.memory import give_back

    if examined.plan.pieces:
        examined.checkpoint.prepare()
    check_tied_copies(examined)
    updates = {}
    if isinstance(examined.checkpoint, AdaptedCheckpoint):
        updates = examined.checkpoint.take_linears(examined.plan)
    started = time.perf_counter()
    with _device_scope(device):
        storage = storage_of(examined, dtype)
        if dtype == "auto":
            say(storage.reason, enabled=progress)
        with supply_of(examined, storage, progress=progress) as supply:
            processing = read_processing(examined)  # while threads read the first of the weights
            give_back()
            model = build(examined, supply, storage)
        if updates:
            from intermodal.layers.lora import add_updates

            add_updates(model, updates)
    for name, value in processing.items():
        setattr(model, name, value)
    if dtype == "auto" and storage.dtype != "auto":
        model.checkpoint_dtypes = own_dtypes(examined)
    model.quantization = packed_types(model, examined)
    model.report = describe(model, examined, dtype, storage.reason, time.perf_counter() - started)
    for sentence in model.report.warnings:
        warnings.warn(sentence, stacklevel=3)  # whoever called `load` or `from_preset`
    manager().notify_loaded(model, model.report)
    return model


def storage_of(examined: Examined, dtype: str) -> Storage:
    """What the weights will be stored in on the device that Keras computes on; imports Keras."""
    from intermodal.compiled import reads
    from intermodal.layers.storage import device_kind

    if dtype != "auto":
        return asked_storage(dtype)
    kind = device_kind()
    kernels, blocks = reads(choose(), load=True) if kind == "cpu" else (False, False)
    return default_storage(kind, *stored_types(examined), kernels=kernels, blocks=blocks)


def asked_storage(dtype: str) -> Storage:
    """A float dtype for all weights, because somebody asked for it."""
    return Storage(dtype, False, f"Weights are stored in {dtype}, as asked.")


def stored_types(examined: Examined) -> tuple[set[str], set[str]]:
    """The float dtypes of the tensors that are loaded, and the types of those that are in blocks of small integers."""
    sources = [piece.source for pieces in examined.plan.pieces.values() for piece in pieces]
    packed = {info.name for info in sources if examined.checkpoint.packing(info.name) is not None}
    return (
        {info.dtype for info in sources if info.name not in packed},
        {info.stored for info in sources if info.name in packed},
    )


def packed_types(model: TaskModel, examined: Examined) -> str | None:
    """The checkpoint's own names of the types that the model holds packed, None where there are none."""
    kept = [name for part in model.parts() for name in part.packings]
    return ", ".join(sorted({piece.source.stored for name in kept for piece in examined.plan.pieces[name]})) or None


def own_dtypes(examined: Examined) -> dict[str, str]:
    """The checkpoint's own dtype of each variable that is narrower there than float32, where it is one."""
    own = {name: {piece.source.dtype for piece in pieces} for name, pieces in examined.plan.pieces.items()}
    return {name: min(kinds) for name, kinds in own.items() if len(kinds) == 1 and kinds <= {"bfloat16", "float16"}}


@contextmanager
def supply_of(examined: Examined, storage: Storage, *, progress: bool = True) -> Iterator[CheckpointSupply]:
    """The values of an examined checkpoint, which are read from here on, with a progress bar for them."""
    from intermodal.commands.console import progress_bar
    from intermodal.weights.supply import CheckpointSupply

    supply = CheckpointSupply(examined.checkpoint, examined.plan, storage.dtype, keep_packed=storage.packed)
    with progress_bar("Reading weights", total=supply.nbytes, unit="bytes", enabled=progress) as advance, supply:
        supply.progress = advance
        yield supply


def build(examined: Examined, supply: CheckpointSupply, storage: Storage) -> TaskModel:
    """Build the Keras model of an examined checkpoint, each variable made from its bytes as it is created."""
    from intermodal.layers.storage import StoragePolicy, device_kind
    from intermodal.plugins import manager

    stored = storage_dtype(examined, storage.dtype)
    return manager().build_model(
        examined.owner,
        config=examined.config,
        task=examined.task,
        weight_map=examined.weight_map,
        weights=supply,
        dtype=StoragePolicy(stored, compute_dtype(stored, device_kind())),
    )


def storage_dtype(examined: Examined, dtype: str) -> str:
    """The dtype most parameters are stored in: the policy's, while single variables may differ under `"auto"`."""
    if dtype != "auto":
        return dtype
    counts: dict[str, int] = {}
    for pieces in examined.plan.pieces.values():
        for piece in pieces:
            name = piece.source.dtype if piece.source.dtype in FLOATS else "float32"
            counts[name] = counts.get(name, 0) + piece.source.nbytes
    return max(counts, key=lambda name: counts[name]) if counts else "float32"


def check_tied_copies(examined: Examined) -> None:
    """Refuse a checkpoint whose config ties two weights that it holds with different values.

    Raises:
        WeightError: names both tensors and the override that unties them.
    """
    from intermodal.errors import WeightError
    from intermodal.weights.reading import tied_copy_differs

    plan = examined.plan
    for name, copy in plan.tied_copies.items():
        if plan.tied[name] not in plan.pieces:  # it is made anew
            continue
        (piece,) = plan.pieces[plan.tied[name]]
        if tied_copy_differs(examined.checkpoint, copy.name, piece.source.name):
            raise WeightError(
                f"The config ties {copy.name} to {piece.source.name} (tie_word_embeddings), but {copy.file} holds both "
                'with different values. To use both: load(uri, config={"tie_word_embeddings": False}).'
            )


def read_processing(examined: Examined) -> dict[str, Any]:
    """The model's tokenizer and settings by the attributes that they become, where the checkpoint holds them."""
    from intermodal.generation.settings import GenerationSettings
    from intermodal.processing.load import checkpoint_tokenizer, read_generation_config
    from intermodal.processing.load_processor import processor_from_repository

    tokenizer = checkpoint_tokenizer(examined.checkpoint)
    settings = GenerationSettings.from_files(
        read_generation_config(examined.checkpoint), examined.config.raw, tokenizer
    )
    processor = processor_from_repository(examined.checkpoint.repository, examined.family, tokenizer, examined.config)
    found = {"tokenizer": tokenizer, "processor": processor, "generation_settings": settings}
    # Only the task of sentences has the attribute.
    return found if examined.sentences is None else {**found, "sentences": examined.sentences}


def _device_scope(device: str | None) -> Any:
    if device is None:
        return nullcontext()
    import keras

    return keras.device(device)
