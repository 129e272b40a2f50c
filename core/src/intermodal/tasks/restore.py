"""Models in Keras' own format: a blank model from the config in a `.keras` file, and what lies beside its weights."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.errors import CheckpointError

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


def from_saved_config(saved: dict[str, Any], chosen: type[TaskModel]) -> TaskModel:
    """Make the model that `TaskModel.get_config` described, with variables of the same dtypes and zeros in them.

    Args:
        saved: what it said.
        chosen: the class that it was a model of.

    Raises:
        PluginError: the family's plugin is not installed, or cannot be used.
    """
    from intermodal.families import resolve
    from intermodal.layers.lora import restore_lora
    from intermodal.layers.storage import StoragePolicy
    from intermodal.plugins import manager
    from intermodal.processing.sentences import SentenceSettings
    from intermodal.weights.packing import Packing
    from intermodal.weights.supply import BlankSupply

    plugins = manager()
    owner = plugins.family(saved["family"])
    owner = dataclasses.replace(owner, family=owner.family.with_task_class(saved["task"], chosen))
    config, _ = resolve(owner.family.config).from_hf(saved["config"], strict=False)
    weight_map = plugins.weight_map(owner, config, saved["task"])
    if "sentences" in saved:
        weight_map = weight_map.with_more(SentenceSettings.from_dict(saved["sentences"]).weights())
    weight_map = weight_map.without(saved["left_out"])
    policy = StoragePolicy(**saved["policy"])
    model = plugins.build_model(
        owner,
        config=config,
        task=saved["task"],
        weight_map=weight_map,
        weights=BlankSupply(
            saved["dtypes"],
            policy.variable_dtype,
            {name: Packing(**packing) for name, packing in saved["packings"].items()},
        ),
        dtype=policy,
    )
    model.quantization = saved["quantization"]
    model.checkpoint_dtypes = saved["checkpoint_dtypes"]
    if saved["adapter"]:
        restore_lora(model, saved["adapter"])
    return model


def load_keras_file(path: str | Path, **arguments: Any) -> TaskModel:
    """Read a model that `model.save("….keras")` wrote, tokenizer and generation settings included.

    `keras.models.load_model` does the same in a process where the task's class has been imported; this imports it.

    Raises:
        CheckpointError: there is no such file, it holds a model of something else, or `arguments` of `load` are given
            that such a file has settled.
    """
    import keras

    from intermodal.tasks import CLASSES
    from intermodal.tasks.base import TaskModel

    settled = [name for name, value in arguments.items() if value not in (None, "auto")]
    if settled:
        raise CheckpointError(f"{path} is in Keras' format, which settles {', '.join(settled)}: leave that out.")
    if not Path(path).is_file():
        raise CheckpointError(f"There is no file {path}.")
    for dotted in CLASSES.values():
        import_module(dotted.partition(":")[0])
    _restore_classes(path)
    model = keras.models.load_model(path)
    if not isinstance(model, TaskModel):
        raise CheckpointError(
            f"{path} holds a {type(model).__name__} and no model of intermodal; use keras to load it."
        )
    return model


def _restore_classes(path: str | Path) -> None:
    """Let Keras know the class of a model that `from_preset` had loaded, or of a task that the family brings."""
    from intermodal.plugins import manager
    from intermodal.presets import restore

    saved = _saved_config(path)
    config = saved.get("config")
    if isinstance(config, dict) and isinstance(config.get("family"), str):
        owner = manager().family(config["family"])  # which imports the plugin, and so its presets
        for dotted in owner.family.task_classes.values():
            if isinstance(dotted, str):
                import_module(dotted.partition(":")[0])
        restore(f"{saved.get('module')}:{saved.get('class_name')}", owner.family)


def _saved_config(path: str | Path) -> dict[str, Any]:
    """config.json of a `.keras` file; empty where it has none, which Keras complains of in its own words."""
    from intermodal.checkpoints.strict_json import CONFIG_LIMIT, parse_object

    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist() or archive.getinfo("config.json").file_size > CONFIG_LIMIT:
            return {}
        return parse_object(archive.read("config.json"), f"config.json in {path}")


def save_assets(model: TaskModel, folder: str) -> None:
    """Write the files of tokenizer and processor, and generation_config.json, into `folder`."""
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    if model.generation_settings is not None:
        content = json.dumps(model.generation_settings.to_hf(), indent=2)
        (Path(folder) / "generation_config.json").write_text(content, encoding="utf-8")
    for name, content in (model.processor.files() if model.processor else {}).items():
        (Path(folder) / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def load_assets(model: TaskModel, folder: str) -> None:
    """Read what `save_assets` wrote."""
    from intermodal.generation.settings import GenerationSettings
    from intermodal.processing.load import tokenizer_from_repository, tokenizer_of
    from intermodal.processing.load_processor import processor_from_repository
    from intermodal.sources import open_repository
    from intermodal.sources.base import Access

    repository = open_repository(folder, Access())
    parts = tokenizer_from_repository(repository)
    model.tokenizer = tokenizer_of(parts) if parts else None
    model.processor = processor_from_repository(repository, model.family, model.tokenizer, model.config)
    settings = Path(folder) / "generation_config.json"
    if settings.exists():
        raw = json.loads(settings.read_text(encoding="utf-8"))
        model.generation_settings = GenerationSettings.from_files(raw, model.config.raw, model.tokenizer)
