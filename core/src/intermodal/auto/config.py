"""AutoConfig: the typed config of a checkpoint, read by the family that its model type belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.auto.location import Location, take_location
from intermodal.auto.registry import NeverMade, Registered
from intermodal.errors import ConfigError

if TYPE_CHECKING:
    from intermodal.config import ModelConfig
    from intermodal.sources.base import Repository

CONFIG = "config.json"
_REGISTERED = Registered("AutoConfig")


class AutoConfig(NeverMade):
    """Gives the typed config of a checkpoint. Weights are not looked at, and Keras is not imported.

    Example:
        config = AutoConfig.from_pretrained("org/name", num_labels=3)
    """

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """Read a config.json, or a GGUF file's metadata.

        Args:
            pretrained_model_name_or_path: `org/name` on the Hub, a folder, or any URI of `load`.
            return_unused_kwargs: return `(config, rest)`, where `rest` are the keywords that are no key of it.
            kwargs: revision, subfolder, cache_dir, token, local_files_only, force_download and gguf_file; every other
                replaces the config's key of that name.

        Raises:
            ConfigError: there is no config.json or no `model_type` in it, or a keyword is no key of this family's.
            PluginError: no installed plugin reads this model type; the message names the one that does.
        """
        location = take_location(pretrained_model_name_or_path, kwargs)
        raw, family_key = read_raw(location)
        config_class = class_of(family_key)
        unused = {}
        if return_unused_kwargs:
            unused = {key: kwargs.pop(key) for key in list(kwargs) if not _has(config_class, raw, key)}
        config, _ = config_class.from_hf(raw, overrides=kwargs)
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def for_model(cls, model_type: str, **kwargs: Any) -> ModelConfig:
        """The config of a model type with transformers' defaults, and these keys.

        Raises:
            ConfigError: a keyword is no key of this family's.
            PluginError: no installed plugin reads this model type.
        """
        return class_of(model_type).from_hf({"model_type": model_type}, overrides=kwargs)[0]

    @staticmethod
    def register(model_type: str, config: type[ModelConfig], exist_ok: bool = False) -> None:
        """Let a config class of your own read a model type; it goes before the installed plugins'.

        Raises:
            ConfigError: the class reads other model types.
            PluginError: there is one already, and `exist_ok` is false.
        """
        if model_type not in config.model_types:
            raise ConfigError(f"{config.__name__} reads {', '.join(config.model_types)}, and not {model_type!r}.")
        _REGISTERED.add(model_type, config, exist_ok)


def class_of(model_type: str) -> type[ModelConfig]:
    """The config class of a model type: one that was registered, else the installed family's.

    Raises:
        PluginError: no installed plugin reads this model type.
    """
    from intermodal.families import resolve
    from intermodal.plugins import manager

    return _REGISTERED.get(model_type) or resolve(manager().family(model_type).family.config)


def read_raw(location: Location) -> tuple[dict[str, Any], str]:
    """A config.json's content and model type, or those made of a format's own metadata.

    Raises:
        ConfigError: there is no config.json, or it names no model type.
    """
    repository = location.open_model()
    if repository.has(CONFIG) and not _is_other_format(repository):
        return _read(repository)
    from intermodal.checkpoints import open_checkpoint
    from intermodal.examination import raw_config
    from intermodal.plugins import manager

    if not repository.selected and not any("." in name for name in repository.files()):
        raise ConfigError(f"{location.named} has no {CONFIG}.")
    checkpoint = open_checkpoint(repository, manager().reader)
    family = manager().family(checkpoint.family_key).family
    return raw_config(checkpoint, family), checkpoint.family_key


def _is_other_format(repository: Repository) -> bool:
    """Whether one file was named that keeps metadata of its own."""
    selected = repository.selected
    return selected is not None and not selected.endswith((".safetensors", ".json"))


def _read(repository: Repository) -> tuple[dict[str, Any], str]:
    from intermodal.checkpoints.strict_json import read_object

    raw = read_object(repository, CONFIG, ConfigError)
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ConfigError(
            f"{CONFIG} of {repository.uri} has model_type {model_type!r}, expected the name of an architecture. Add it "
            "to a local copy of the file."
        )
    return raw, model_type


def _has(config_class: type[ModelConfig], raw: Mapping[str, Any], key: str) -> bool:
    return key in raw or key in config_class.known_keys()


def read_config(config: Any, arguments: Mapping[str, Any]) -> Any:
    """The argument `config` of `from_pretrained`: a typed config, a mapping, or the name of where one is.

    Raises:
        ConfigError: it is something else.
    """
    from intermodal.config import ModelConfig

    if config is None or isinstance(config, ModelConfig | Mapping):
        return config
    if isinstance(config, str | Path):
        return AutoConfig.from_pretrained(config, **arguments)
    raise ConfigError(
        f"config is a {type(config).__name__}; expected what AutoConfig of intermodal gives, a dict of keys to "
        "replace, or the name of a checkpoint."
    )
