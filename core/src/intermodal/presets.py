"""KerasHub's ways: `FamilyCausalLM.from_preset("hf://org/name").generate("…", max_length=30)`.

A family's package declares a class for each of its tasks; it names the family and the task, and inherits the rest. Such
a class is light: Keras is imported by `from_preset`, which joins it with the task's own class.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from intermodal.errors import PluginError, TaskError

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.families import Family
    from intermodal.plugins import LoadedFamily


class Preset:
    """A task of a family under the name that KerasHub gives it. Subclass it in the package of the plugin.

    Example:
        class BloomBackbone(Preset):
            \"\"\"Bloom without a head.\"\"\"

            families, task = ("bloom",), "feature-extraction"

    Attributes:
        families: names of the families whose checkpoints it loads, all of this package.
        task: the Hub's name of what they are loaded as.
    """

    families: ClassVar[tuple[str, ...]]
    task: ClassVar[str]
    declared: ClassVar[dict[str, type[Preset]]] = {}
    """The classes of plugins that are loaded, by module and name."""

    def __init_subclass__(cls, *, declares: bool = True, **options: Any) -> None:
        super().__init_subclass__(**options)
        if declares:
            Preset.declared[_place(cls)] = cls

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Make the model's object.

        Raises:
            TypeError: the class is called, as KerasHub's are with a backbone.
        """
        if cls in Preset.declared.values():
            raise TypeError(f"{cls.__name__} has no constructor: {cls.__name__}.from_preset(…) loads a checkpoint.")
        return super().__new__(cls, *arguments, **options)

    @classmethod
    def from_preset(
        cls,
        preset: str | Path,
        load_weights: bool = True,
        *,
        dtype: str | None = None,
        num_classes: int | None = None,
        config: Mapping[str, Any] | None = None,
        strict: bool = True,
        backend: str | None = None,
        device: str | None = None,
        progress: bool = True,
        **access: Any,
    ) -> Any:
        """Load a checkpoint of this class's family as a Keras model.

        Args:
            preset: what `intermodal.load` takes: `hf://org/name`, a folder, a file such as GGUF, `pkg://package/file`.
            load_weights: False reads headers alone and makes every weight anew: an untrained model, which its report
                says in plain words.
            dtype: what weights are stored in, as `intermodal.load` takes it; None for the checkpoint's own.
            num_classes: make a new head for so many classes, whatever head the checkpoint holds.
            config, strict, backend, device, progress: as `intermodal.load` takes them.
            access: revision, token, subfolder, cache_dir, local_files_only and force_download, likewise.

        Returns:
            The model: an instance of this class and of the task's own, `intermodal.api.TaskModel`.

        Raises:
            TaskError: the checkpoint is of another family, or `num_classes` is given for a task without classes.
            IntermodalError: something else is refused, as `intermodal.load` does.
        """
        from intermodal.backend import choose
        from intermodal.dtypes import check_storage
        from intermodal.sources.base import Access

        check_storage(dtype or "auto")
        choose(backend)
        from intermodal.checkpoints import open_checkpoint
        from intermodal.examination import examine, untrained, with_new_head
        from intermodal.loading import load_examined
        from intermodal.plugins import manager
        from intermodal.sources import open_repository

        repository = open_repository(str(preset), Access(**access), manager().source)
        checkpoint = open_checkpoint(repository, manager().reader)
        family = cls._owner(checkpoint).family
        examined = examine(
            str(preset), cls.task, family=family.name, strict=strict, config=config, checkpoint=checkpoint
        )
        if num_classes is not None:
            examined = with_new_head(examined, num_classes, strict=strict)
        if not load_weights:
            examined = untrained(examined)
        owner = dataclasses.replace(
            examined.owner, family=family.with_task_class(cls.task, cls.model_class(examined.family))
        )
        model = load_examined(
            dataclasses.replace(examined, owner=owner), dtype or "auto", device=device, progress=progress
        )
        if not isinstance(model, cls):
            raise PluginError(f"{owner} builds a {type(model).__name__} of its own: use intermodal.load instead.")
        return model

    @classmethod
    def model_class(cls, family: Family) -> type:
        """This class joined with the class of its task; Keras knows it when it reads a `.keras` file."""
        from intermodal.tasks import task_class

        base: Any = task_class(family, cls.task)
        return _joined(cls, base)

    @classmethod
    def _owner(cls, checkpoint: Checkpoint) -> LoadedFamily:
        """The family that reads a checkpoint: by its model type, else by a format that several families share."""
        from intermodal.plugins import manager
        from intermodal.weights.map import HUGGINGFACE

        key, dialect = checkpoint.family_key, checkpoint.dialect
        owners = [manager().family("", override=name) for name in cls.families]
        for owner in owners:
            if key in owner.family.refused:
                raise TaskError(f"{cls.__name__} does not load {key!r}: {owner.family.refused[key]}")
            shared = dialect != HUGGINGFACE and dialect in owner.family.dialects
            if key in owner.family.model_types or shared:
                return owner
        read = ", ".join(name for owner in owners for name in owner.family.model_types)
        raise TaskError(
            f"The checkpoint's model type is {key!r}, and {cls.__name__} loads: {read}. "
            "intermodal.load(…) finds the family by itself."
        )


class CausalLMPreset(Preset, declares=False):
    """A language model whose `generate` and `compile` are KerasHub's.

    Attributes:
        default_sampler: how a model that was not compiled draws, as KerasHub's class of the same name does.
    """

    task = "text-generation"
    default_sampler: ClassVar[str] = "top_k"

    @functools.cached_property
    def sampler(self) -> Any:
        """How `generate` chooses tokens: a `Sampler`."""
        from intermodal.generation.samplers import read_sampler

        return read_sampler(self.default_sampler)

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        sampler: Any = None,
        **options: Any,
    ) -> None:
        """Prepare for training and generation, with KerasHub's defaults.

        Args:
            optimizer: `"auto"` is Adam with a learning rate of 2e-5.
            loss: `"auto"` is sparse categorical cross-entropy of logits.
            weighted_metrics: `"auto"` is sparse categorical accuracy.
            sampler: how `generate` chooses tokens, see `intermodal.generation.samplers`; None: `default_sampler`.
            options: as `keras.Model.compile` takes them.

        Raises:
            GenerationError: the sampler is one that is not implemented.
        """
        import keras

        from intermodal.generation.samplers import read_sampler

        self.sampler = read_sampler(self.default_sampler if sampler is None else sampler)
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(2e-5)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy()]
        parent: Any = super()
        parent.compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **options)

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was called with, the sampler included."""
        parent: Any = super()
        config = parent.get_compile_config()
        return {**config, "sampler": self.sampler.get_config()} if config else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says; Keras calls it for a model that it has read from a file."""
        import keras

        model: Any = self
        sampler = config.pop("sampler")
        model.compile(**keras.saving.deserialize_keras_object(config), sampler=sampler)
        if model.optimizer:
            model.optimizer.build(model.trainable_variables)

    def generate(
        self, inputs: Any, max_length: int | None = None, stop_token_ids: Any = "auto", strip_prompt: bool = False
    ) -> Any:
        """Prompt and continuation, as KerasHub gives them. See `intermodal.generation.preset_calls.generate`."""
        from intermodal.generation.preset_calls import generate

        return generate(self, inputs, max_length, stop_token_ids, strip_prompt)


def restore(place: str, family: Family) -> None:
    """Let Keras know the class that a `.keras` file names, where a plugin that is loaded declares it.

    Args:
        place: `"module:Name"` of the class.
        family: the saved model's.
    """
    if place in Preset.declared:
        Preset.declared[place].model_class(family)


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


@functools.cache
def _joined(preset: type[Preset], base: type) -> type:
    import keras

    class Joined(preset, base, declares=False):  # pyright: ignore[reportGeneralTypeIssues]
        __doc__ = preset.__doc__

    Joined.__name__, Joined.__qualname__ = preset.__name__, preset.__qualname__
    Joined.__module__ = preset.__module__
    name = f"{preset.__name__}.{base.__name__}"  # a family may have its own class for the task
    return keras.saving.register_keras_serializable(package=preset.__module__, name=name)(Joined)
