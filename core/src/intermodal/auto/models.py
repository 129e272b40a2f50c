"""AutoModel and its kin: each stands for one task, and loads a checkpoint for it with transformers' arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from intermodal.auto.location import take_location
from intermodal.auto.model_arguments import take_load_arguments
from intermodal.auto.registry import NeverMade, Registered

if TYPE_CHECKING:
    from intermodal.config import ModelConfig
    from intermodal.tasks.base import TaskModel


class _AutoModelFor(NeverMade):
    """What all of them do.

    Attributes:
        task: the task that a checkpoint is loaded for, as `intermodal.load` names it.
    """

    task: ClassVar[str]
    _registered: ClassVar[Registered]

    def __init_subclass__(cls) -> None:
        cls._registered = Registered(cls.__name__)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """Load a checkpoint for this task: a Keras model, with its tokenizer and its report.

        A class registered for the checkpoint's config goes first, then the family that an installed plugin has for
        its `model_type`. A head that the checkpoint lacks is new and random, which a warning says.

        Args:
            pretrained_model_name_or_path: `org/name` on the Hub, a folder, a file, or any URI of `intermodal.load`.
            output_loading_info: return `(model, info)`; `info` has `missing_keys`, `unexpected_keys`,
                `mismatched_keys` and `error_msgs`.
            kwargs: revision, subfolder, cache_dir, token, local_files_only, force_download, gguf_file; config, dtype
                (or torch_dtype), device_map, variant, key_mapping, ignore_mismatched_sizes, quantization_config;
                family, strict, backend, device and progress of `intermodal.load`. Every other replaces the key of that
                name in config.json, as `num_labels`, `id2label` and `label2id`.

        Raises:
            IntermodalError: something is refused; the message says what, and what to do.
        """
        from intermodal.loading import load

        registered = cls.own_class(pretrained_model_name_or_path, kwargs)
        if registered is not None:
            return registered.from_pretrained(
                pretrained_model_name_or_path, output_loading_info=output_loading_info, **kwargs
            )
        location = take_location(pretrained_model_name_or_path, kwargs)
        arguments, quantization = take_load_arguments(kwargs, location)
        model = load(location.uri, cls.task, **arguments)
        if quantization is not None:
            model.quantize(quantization)
        return (model, loading_info(model)) if output_loading_info else model

    @classmethod
    def from_config(cls, config: ModelConfig, *, dtype: Any = "float32", seed: int | None = None) -> TaskModel:
        """A model with new random weights, to be trained from the beginning.

        Args:
            config: as `AutoConfig` gives it.
            dtype: what the weights are stored in.
            seed: the same seed gives the same weights on every backend.

        Raises:
            TaskError: the family has no such task.
        """
        from intermodal.auto.model_arguments import dtype_name
        from intermodal.auto.random_model import random_model

        registered = cls._registered.get(type(config))
        if registered is not None:
            return registered.from_config(config, dtype=dtype, **({} if seed is None else {"seed": seed}))
        return random_model(config, cls.task, dtype_name(dtype), seed)

    @classmethod
    def register(cls, config_class: type[ModelConfig], model_class: Any, exist_ok: bool = False) -> None:
        """Let a class of your own load the checkpoints of a config class, with its `from_pretrained`.

        Raises:
            PluginError: there is one already, and `exist_ok` is false.
        """
        cls._registered.add(config_class, model_class, exist_ok)

    @classmethod
    def own_class(cls, name: str | os.PathLike[str], arguments: dict[str, Any]) -> Any:
        """The class that a program registered for this checkpoint's config, or None; args are `from_pretrained`'s."""
        if not cls._registered or os.fspath(name).endswith(".keras"):
            return None
        given = arguments.get("config")
        if given is not None and not isinstance(given, dict | str | os.PathLike):
            return cls._registered.get(type(given))
        from intermodal.auto.config import class_of, read_raw

        return cls._registered.get(class_of(read_raw(take_location(name, dict(arguments)))[1]))


def auto_classes(task: str | None) -> list[type[_AutoModelFor]]:
    """The auto classes of a task, of which there is one or none; of None all."""
    return [auto for auto in _AutoModelFor.__subclasses__() if task in (None, auto.task)]


def loading_info(model: TaskModel) -> dict[str, Any]:
    """The report of a loaded model in the form of transformers' `output_loading_info`."""
    report = model.report
    if report is None:
        return {}
    mismatched = {(name, tuple(own), tuple(asked)) for name, (own, asked) in report.mismatched.items()}
    made_anew = {name for name, *_ in mismatched}
    return {
        "missing_keys": {name for name in (*report.new, *report.left_out) if name not in made_anew},
        "unexpected_keys": set(report.ignored),
        "mismatched_keys": mismatched,
        "error_msgs": [],
    }


class AutoModel(_AutoModelFor):
    """The model without its head: hidden states."""

    task = "feature-extraction"


class AutoModelForCausalLM(_AutoModelFor):
    """Text generation."""

    task = "text-generation"


class AutoModelForMaskedLM(_AutoModelFor):
    """The word behind a mask."""

    task = "fill-mask"


class AutoModelForNextSentencePrediction(_AutoModelFor):
    """Whether a second text follows the first."""

    task = "next-sentence-prediction"


class AutoModelForPreTraining(_AutoModelFor):
    """Both heads that a bidirectional model was pretrained with."""

    task = "pretraining"


class AutoModelForSequenceClassification(_AutoModelFor):
    """A class or a number for a text."""

    task = "text-classification"


class AutoModelForTokenClassification(_AutoModelFor):
    """A class for each token."""

    task = "token-classification"


class AutoModelForQuestionAnswering(_AutoModelFor):
    """Where in a text the answer is."""

    task = "question-answering"


class AutoModelForMultipleChoice(_AutoModelFor):
    """Which of several texts."""

    task = "multiple-choice"


class AutoModelForImageClassification(_AutoModelFor):
    """A class for an image."""

    task = "image-classification"


class AutoModelForAudioClassification(_AutoModelFor):
    """A class for a recording."""

    task = "audio-classification"


class AutoModelForAudioFrameClassification(_AutoModelFor):
    """A class for each frame of a recording."""

    task = "audio-frame-classification"


class AutoModelForAudioXVector(_AutoModelFor):
    """A vector of the speaker."""

    task = "audio-xvector"


class AutoModelForCTC(_AutoModelFor):
    """Speech recognition by connectionist temporal classification."""

    task = "automatic-speech-recognition"


class AutoModelForImageTextToText(_AutoModelFor):
    """Text from images and text."""

    task = "image-text-to-text"


class AutoModelForDocumentQuestionAnswering(_AutoModelFor):
    """Where on a page the answer is."""

    task = "document-question-answering"
