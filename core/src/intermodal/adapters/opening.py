"""Which repositories hold adapters, and the model that an adapter was trained on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from intermodal.adapters.adapter_config import FILE, WEIGHTS, AdapterConfig
from intermodal.errors import ConfigError
from intermodal.sources.names import uri_of_name

if TYPE_CHECKING:
    from intermodal.sources.base import Access, Repository


def is_adapter(repository: Repository) -> bool:
    """Whether a repository holds an adapter and no model beside it."""
    if repository.selected not in (None, WEIGHTS) or not repository.has(FILE):
        return False
    if repository.selected is not None:
        return True
    weights = [name for name in repository.files() if name.endswith((".safetensors", ".gguf")) and "/" not in name]
    return all(name.startswith("adapter_") for name in weights)


def open_base(repository: Repository, config: AdapterConfig, access: Access) -> Repository:
    """The repository of the model that an adapter was trained on.

    Args:
        repository: the adapter's.
        config: its adapter_config.json, which names the model as transformers takes names.
        access: how the adapter may be fetched.

    Raises:
        ConfigError: adapter_config.json does not say.
        SourceError: it does not exist, or cannot be reached.
    """
    from intermodal.plugins import manager
    from intermodal.sources import open_repository

    if not config.base:
        raise ConfigError(
            f"{FILE} of {repository.uri} names no base_model_name_or_path: say which model it belongs to, with "
            "load(model, adapter=…)."
        )
    fetching = dataclasses.replace(access, revision=config.base_revision, subfolder=None)
    return open_repository(uri_of_name(config.base), fetching, manager().source)


def without_place(access: Access) -> Access:
    """The same way of fetching, for another repository: revision and subfolder are of the first."""
    return dataclasses.replace(access, revision=None, subfolder=None)
