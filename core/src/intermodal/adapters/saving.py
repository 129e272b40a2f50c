"""Writing a model's LoRA updates as PEFT reads them, without the model that they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.adapters.adapter_config import FILE, TASKS, WEIGHTS
from intermodal.adapters.checkpoint import LEAD
from intermodal.checkpoints.write_safetensors import write_sharded
from intermodal.errors import WeightError
from intermodal.output import replaced_folder
from intermodal.tasks import LANGUAGE_TASKS
from intermodal.weights.map import HUGGINGFACE, Variable, Weight, prefixed
from intermodal.weights.memory import from_backend
from intermodal.weights.plan import name_in
from intermodal.weights.transforms import IDENTITY

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

_FACTORS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}


def save_adapter(model: TaskModel, folder: str | Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors beside their place, and rename them into it.

    Args:
        model: one with LoRA, by `enable_lora` or a loaded adapter.
        folder: it is replaced when the new one is whole.

    Raises:
        WeightError: there is no LoRA; more was changed than PEFT's files can say; or a weight has another form in
            Hugging Face's files than in the model.
    """
    if model.adapter is None:
        raise WeightError("The model has no LoRA to save: call enable_lora(rank) and train, or use save_pretrained.")
    _check_whole(model)
    tensors: dict[str, np.ndarray] = {}
    modules: dict[str, dict[str, Any]] = {}
    heads: set[str] = set()
    for part in model.parts():
        for variable in part.declared:
            settings = model.adapter["modules"].get(variable.name)
            if settings is not None:
                module = _module(model, variable)
                modules[module] = settings
                for field, ending in _FACTORS.items():
                    value = from_backend(part.by_name[f"{variable.name}.{field}"].value)
                    tensors[f"{LEAD}{module}.{ending}"] = np.asarray(value)
            elif variable.head and part.by_name[variable.name].trainable:
                module, _, field = _name(model, variable).rpartition(".")
                heads.add(module)
                tensors[f"{LEAD}{module}.{field}"] = np.asarray(from_backend(part.by_name[variable.name].value))
    config = _config(model, modules, heads)
    with replaced_folder(folder) as target:
        write_sharded(
            target,
            [(name, str(values.dtype), values.shape) for name, values in tensors.items()],
            lambda name: tensors[name],
            metadata={"format": "pt"},
        )
        (target / "model.safetensors").rename(target / WEIGHTS)
        (target / FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(target)


def _config(model: TaskModel, modules: dict[str, dict[str, Any]], heads: set[str]) -> dict[str, Any]:
    """adapter_config.json. Ranks and alphas that differ from the first module's stand in patterns."""
    first = next(iter(modules.values()))
    rank, alpha = first["rank"], first["scale"] * first["rank"]
    named = {name: (its["rank"], its["scale"] * its["rank"]) for name, its in modules.items()}
    uri = (model.report.adapter.get("base") or model.report.uri) if model.report else None
    task = next((theirs for theirs, ours in TASKS.items() if ours == model.task), None)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if task is None and model.task == "image-text-to-text" else task,
        "base_model_name_or_path": uri.removeprefix("hf://") if uri else None,
        "revision": model.report.revision if model.report else None,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{name}": r for name, (r, _) in named.items() if r != rank},
        "alpha_pattern": {f"^{name}": a for name, (_, a) in named.items() if a != alpha},
        "target_modules": _targets(model, set(modules)),
        "modules_to_save": sorted(heads) or None,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def _targets(model: TaskModel, modules: set[str]) -> list[str]:
    """The modules by their last parts where these mean all modules of that name, else by their whole names."""
    ends: dict[str, set[str]] = {}
    for weight in model.weight_map.weights:
        if weight.role in ("linear", "embedding"):
            name = _hub_name(model, weight).rpartition(".")[0]
            ends.setdefault(name.rpartition(".")[2], set()).add(name)
    short = {end for end, names in ends.items() if names <= modules}
    return sorted(short | {name for name in modules if name.rpartition(".")[2] not in short})


def _check_whole(model: TaskModel) -> None:
    """Refuse to leave out something that makes the model what it is."""
    report = model.report
    if report is not None and report.adapter.get("merged"):
        raise WeightError(
            f"The adapter that was loaded changed {', '.join(report.adapter['merged'][:4])} too, which is part of the "
            "weights now: save_pretrained writes the whole model."
        )
    adapted = model.adapter["modules"] if model.adapter else {}
    own = {f"{name}.{field}" for name in adapted for field in _FACTORS}
    head_trains = model.task not in LANGUAGE_TASKS
    others = [
        name
        for part in model.parts()
        for name, variable in part.by_name.items()
        if variable.trainable and name not in own and not (head_trains and part is model.head)
    ]
    if others:
        raise WeightError(
            f"{', '.join(others[:4])} can be trained beside LoRA and would be lost: freeze them, or write the whole "
            "model with save_pretrained."
        )


def _module(model: TaskModel, variable: Variable) -> str:
    return _name(model, variable).removesuffix(".weight")


def _name(model: TaskModel, variable: Variable) -> str:
    """The name of a variable's one tensor in Hugging Face's files.

    Raises:
        WeightError: it is made of several, or its values are not those of the file.
    """
    (weight, part), *others = variable.weights
    alias = weight.aliases.get(HUGGINGFACE)
    if others or part is not None or (alias and (alias.part is not None or alias.transform is not IDENTITY)):
        raise WeightError(
            f"{variable.name} has another form in Hugging Face's files, so its update has no place there: "
            "save_pretrained writes it merged."
        )
    return _hub_name(model, weight)


def _hub_name(model: TaskModel, weight: Weight) -> str:
    prefix = model.weight_map.prefix if model.weight_map.has_head else model.weight_map.base_prefix
    return prefixed("" if weight.head else prefix, name_in(weight, HUGGINGFACE))
