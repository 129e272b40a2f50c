"""Writing a model back as a Hugging Face folder: the weight map, read the other way round."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.checkpoints.write_safetensors import write_sharded
from intermodal.errors import WeightError
from intermodal.output import replaced_folder
from intermodal.tasks import BACKBONE_TASK
from intermodal.weights.map import HUGGINGFACE, Alias, Weight, WeightMap, prefixed

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


@dataclass(frozen=True)
class Exported:
    """One tensor to be written: its name, dtype, shape, the weights it is made of, and the folder of its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    weights: tuple[tuple[Weight, Alias], ...]
    folder: str = ""


def exported_tensors(weight_map: WeightMap, dtype_of: Callable[[str], str], *, with_head: bool) -> list[Exported]:
    """What a Hugging Face checkpoint of this map holds. Tied weights are left out: the format shares no storage."""
    prefix = weight_map.prefix if with_head else weight_map.base_prefix
    groups: dict[str, list[tuple[Weight, Alias]]] = {}
    for weight in weight_map.weights:
        if weight.tied_to is None:
            alias = weight.aliases.get(HUGGINGFACE) or Alias(weight.name)
            groups.setdefault(prefixed("" if weight.head else prefix, alias.name), []).append((weight, alias))
    tensors = []
    for name, members in groups.items():
        weight, alias = members[0]
        shape = alias.of_shape or alias.transform.stored_shape(weight.shape)
        name = name.removeprefix(f"{weight.folder}.")
        tensors.append(Exported(name, dtype_of(weight.variable), shape, tuple(members), weight.folder))
    return tensors


def export_values(tensor: Exported, read: Callable[[Weight], np.ndarray]) -> np.ndarray:
    """A tensor's values in checkpoint form: each weight's transform undone, parts side by side."""
    parts = [(alias.part, alias.transform.export(read(weight))) for weight, alias in tensor.weights]
    if len(parts) == 1 and parts[0][0] is None:
        return np.ascontiguousarray(parts[0][1])
    placed = sorted(((part, values) for part, values in parts if part), key=lambda pair: pair[0].start)
    return np.concatenate([values for _, values in placed], axis=placed[0][0].axis)


def save_pretrained(model: TaskModel, folder: str | Path, *, max_shard_size: int | str = "5GB") -> None:
    """Write `model` as a Hugging Face folder. See `TaskModel.save_pretrained`."""
    from intermodal.weights.values import exported_dtypes, weight_values

    dtype_of = exported_dtypes(model).__getitem__
    tensors = exported_tensors(model.weight_map, dtype_of, with_head=model.weight_map.has_head)
    dtypes = {tensor.dtype for tensor in tensors if tensor.weights[0][0].role in ("linear", "embedding")}
    write_folder(
        folder,
        tensors=tensors,
        read=lambda tensor: export_values(tensor, lambda weight: weight_values(model, weight, tensor.dtype)),
        config=exported_config(model.config, model.family, model.task, dtypes),
        generation=model.generation_settings.to_hf() if model.generation_settings else None,
        tokenizer=model.tokenizer,
        provenance=model.report.to_dict() if model.report else None,
        more=model.more_files(),
        max_shard_bytes=parse_size(max_shard_size),
    )


def exported_config(config: Any, family: Any, task: str, dtypes: set[str]) -> dict[str, Any]:
    """config.json of an exported model: its own keys, the architecture of the task, and the dtype if there is one."""
    raw = config.to_hf()
    # A task that no architecture is named after (sentence vectors) is the backbone, and files beside it.
    shared = task if task in family.architectures.values() else BACKBONE_TASK
    named = [name for name, its_task in family.architectures.items() if its_task == shared]
    current = (raw.get("architectures") or [None])[0]
    if current not in named and named:
        raw["architectures"] = named[:1]
    raw.pop("torch_dtype", None)
    raw["dtype"] = dtypes.pop() if len(dtypes) == 1 else "float32"
    return raw


def write_folder(
    folder: str | Path,
    *,
    tensors: list[Exported],
    read: Callable[[Exported], np.ndarray],
    config: dict[str, Any],
    generation: dict[str, Any] | None,
    tokenizer: Any,
    provenance: dict[str, Any] | None,
    more: Mapping[str, Any],
    max_shard_bytes: int,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write every file of a Hugging Face folder beside its place, and rename it into place when it is whole."""
    with ExitStack() as stack:
        target = stack.enter_context(replaced_folder(folder))
        _write_weights(target, tensors, read, max_shard_bytes, progress)
        _write_json(target / "config.json", config)
        if generation is not None:
            _write_json(target / "generation_config.json", generation)
        if tokenizer is not None:
            tokenizer.save_pretrained(target)
        if provenance is not None:
            _write_json(target / "intermodal_report.json", provenance)
        for name, content in more.items():
            (target / name).parent.mkdir(exist_ok=True)
            _write_json(target / name, content)


def _write_weights(
    target: Path,
    tensors: list[Exported],
    read: Callable[[Exported], np.ndarray],
    max_shard_bytes: int,
    progress: Callable[[int], None],
) -> None:
    """Write the model's tensors, and those that have a folder of their own into one unsharded file each."""
    for folder in dict.fromkeys(["", *(tensor.folder for tensor in tensors)]):
        by_name = {tensor.name: tensor for tensor in tensors if tensor.folder == folder}
        (target / folder).mkdir(exist_ok=True)
        write_sharded(
            target / folder,
            [(tensor.name, tensor.dtype, tensor.shape) for tensor in by_name.values()],
            lambda name, by_name=by_name: read(by_name[name]),
            max_shard_bytes=sys.maxsize if folder else max_shard_bytes,
            metadata={"format": "pt"},
            progress=progress,
        )


def parse_size(size: int | str) -> int:
    """Bytes of `5_000_000_000`, `"5GB"` or `"500MB"`.

    Raises:
        WeightError: it is neither.
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    text = str(size).strip().upper()
    number, unit = text[:-2].strip(), text[-2:]
    if unit in units and number.replace(".", "", 1).isdigit() and float(number) > 0:
        return int(float(number) * units[unit])
    raise WeightError(f'max_shard_size={size!r}: give a number of bytes, or a size like "5GB" or "500MB".')


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
