"""Core's own readers, sources, commands and defaults, given through the hooks that plugins use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.families import Family, resolve
from intermodal.hookspecs import hookimpl

if TYPE_CHECKING:
    import keras

    from intermodal.builtin_commands import Command
    from intermodal.checkpoints.base import CheckpointReader
    from intermodal.layers.parameters import Supply
    from intermodal.layers.storage import StoragePolicy
    from intermodal.sources.base import Source
    from intermodal.weights.map import WeightMap


@hookimpl
def intermodal_checkpoint_readers() -> list[CheckpointReader]:
    """SafeTensors."""
    from intermodal.checkpoints.safetensors import SafetensorsReader

    return [SafetensorsReader()]


@hookimpl
def intermodal_sources() -> list[Source]:
    """Local files, Hugging Face repositories, and files inside installed packages."""
    from intermodal.sources import builtin_sources

    return builtin_sources()


@hookimpl
def intermodal_commands() -> list[Command]:
    """The words of the command line that need no plugin."""
    from intermodal.builtin_commands import BUILTIN

    return list(BUILTIN)


@hookimpl(trylast=True)
def intermodal_build_model(
    family: Family, config: Any, task: str, weight_map: WeightMap, weights: Supply, dtype: StoragePolicy
) -> keras.Model:
    """The family's backbone under the task's own class."""
    return resolve("intermodal.tasks:build")(family, config, task, weight_map, weights, dtype)


@hookimpl(trylast=True)
def intermodal_weight_map(family: Family, config: Any, task: str) -> WeightMap:
    """What the family's own function gives."""
    return resolve(family.weight_map)(config, task)
