"""The hooks a plugin may implement. They return value objects; none is called once per tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import keras

    from intermodal.builtin_commands import Command
    from intermodal.checkpoints.base import CheckpointReader
    from intermodal.compiled import CompiledKernels
    from intermodal.families import Family
    from intermodal.layers.parameters import Supply
    from intermodal.layers.storage import StoragePolicy
    from intermodal.sources.base import Source
    from intermodal.weights.map import WeightMap
    from intermodal.weights.report import LoadReport

PROJECT = "intermodal"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def intermodal_families() -> list[Family]:
    """Declare model families. Collected from every plugin that is loaded.

    A `Family` names its parts by dotted strings: config, backbone and weight map; a family that takes images also its
    `image_processor` and `processor`.

    Example:
        @hookimpl
        def intermodal_families():
            return [Family(name="bloom", model_types=("bloom",), config="my_package.config:BloomConfig", …)]
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def intermodal_build_model(
    family: Family, config: Any, task: str, weight_map: WeightMap, weights: Supply, dtype: StoragePolicy
) -> keras.Model | None:
    """Build the Keras model of a checkpoint. Asked of the plugin that owns the claim, then of core's default.

    `weights` gives each variable of `weight_map` its value as it is created, so nothing is initialised first; `dtype`
    says how they are stored and computed in. Return None to leave it to core: `family.backbone` under the task's class.
    """


@hookspec(firstresult=True)
def intermodal_weight_map(family: Family, config: Any, task: str) -> WeightMap | None:
    """Give the weight map of a config. Asked of the plugin that owns the claim, then `family.weight_map` is called."""


@hookspec
def intermodal_checkpoint_readers() -> list[CheckpointReader]:
    """Give readers of checkpoint formats. Core's own safetensors reader registers here too."""
    raise AssertionError("a specification is never called")


@hookspec
def intermodal_sources() -> list[Source]:
    """Give sources of URI schemes. Core's own `hf`, `pkg` and plain paths register here too."""
    raise AssertionError("a specification is never called")


@hookspec
def intermodal_commands() -> list[Command]:
    """Give sub-commands of the command line. Core's own register here too."""
    raise AssertionError("a specification is never called")


@hookspec
def intermodal_kernels() -> list[CompiledKernels]:
    """Give kernels compiled for a kind of device. What they do not take, core's own kernels compute."""
    raise AssertionError("a specification is never called")


@hookspec
def intermodal_model_loaded(model: keras.Model, report: LoadReport) -> None:
    """Be told of a model that has just been loaded. A notification: what it returns is not looked at."""
