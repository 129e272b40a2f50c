"""AutoImageProcessor, AutoFeatureExtractor, AutoProcessor: what makes arrays of images, sound, and both with text."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from intermodal.auto.location import Location, take_location
from intermodal.auto.registry import NeverMade, Registered
from intermodal.errors import ConfigError

if TYPE_CHECKING:
    from intermodal.config import ModelConfig
    from intermodal.families import Family
    from intermodal.sources.base import Repository


class _AutoProcessing(NeverMade):
    """What the three share: the family of the checkpoint's model type says what it has.

    Attributes:
        field: of `Family`, where the class is named.
    """

    field: ClassVar[str]
    _registered: ClassVar[Registered]

    def __init_subclass__(cls) -> None:
        cls._registered = Registered(cls.__name__)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Read it from preprocessor_config.json or processor_config.json.

        Args:
            pretrained_model_name_or_path: `org/name` on the Hub, a folder, or any URI of `intermodal.load`.
            kwargs: revision, subfolder, cache_dir, token, local_files_only and force_download; `backend="pil"` and
                `use_fast=False` ask for what is done anyway; every other replaces the key of that name in the file.

        Raises:
            ConfigError: the family or the checkpoint has none, or the file or a keyword asks for what is not done.
            PluginError: no installed plugin reads this model type; the message names the one that does.
        """
        from intermodal.auto.config import class_of, read_raw
        from intermodal.plugins import manager

        location = take_location(pretrained_model_name_or_path, rest := dict(kwargs))
        raw, model_type = read_raw(location)
        own = cls._registered.get(class_of(model_type)) if cls._registered else None
        if own is not None:
            return own.from_pretrained(pretrained_model_name_or_path, **kwargs)
        loaded = manager().family(model_type)
        _take_backend(rest, loaded.family)
        found = cls._read(location.open(), loaded.family, raw, rest)
        if found is None:
            raise ConfigError(cls._nothing(location, loaded.family))
        return found

    @classmethod
    def register(cls, config_class: type[ModelConfig], processing_class: Any, exist_ok: bool = False) -> None:
        """Let a class of your own serve checkpoints with this config class, by its `from_pretrained`.

        Raises:
            PluginError: there is one already, and `exist_ok` is false.
        """
        cls._registered.add(config_class, processing_class, exist_ok)

    @classmethod
    @abstractmethod
    def _read(cls, repository: Repository, family: Family, raw: dict[str, Any], overrides: dict[str, Any]) -> Any:
        """What the repository holds, or None."""

    @classmethod
    def _nothing(cls, location: Location, family: Family) -> str:
        what = cls.field.replace("_", " ")
        if not getattr(family, cls.field):
            return f"{location.named} is a checkpoint of {family.name}, which has no {what}."
        return f"{location.named} has no preprocessor_config.json or processor_config.json, so its {what} is not known."


def _take_backend(arguments: dict[str, Any], family: Family) -> None:
    """Take out the keywords that choose between transformers' two ways to make pixels, whose results differ.

    Raises:
        ConfigError: the other one is asked for.
    """
    if not family.image_processor:
        if arguments.get("use_fast") is True:  # of the tokenizer, which is the fast one
            del arguments["use_fast"]
        return
    for name, done in (("backend", (None, "pil")), ("use_fast", (None, False))):
        asked = arguments.pop(name, None)
        if asked not in done:
            raise ConfigError(
                f"{name}={asked!r}: pixels are made with Pillow here, which are not quite those of torchvision; leave "
                f"{name} out, or pass {name}={done[1]!r}."
            )


class AutoImageProcessor(_AutoProcessing):
    """Gives what makes pixel values of images."""

    field = "image_processor"

    @classmethod
    def _read(cls, repository: Repository, family: Family, raw: dict[str, Any], overrides: dict[str, Any]) -> Any:
        from intermodal.processing.load_processor import image_processor_from_repository

        return image_processor_from_repository(repository, family, overrides)


class AutoFeatureExtractor(_AutoProcessing):
    """Gives what makes arrays of recordings."""

    field = "feature_extractor"

    @classmethod
    def _read(cls, repository: Repository, family: Family, raw: dict[str, Any], overrides: dict[str, Any]) -> Any:
        from intermodal.processing.load_processor import feature_extractor_from_repository

        return feature_extractor_from_repository(repository, family, overrides)


class AutoProcessor(_AutoProcessing):
    """Gives a checkpoint's processor; of a family that has none its tokenizer, image processor or feature extractor."""

    field = "processor"

    @classmethod
    def _read(cls, repository: Repository, family: Family, raw: dict[str, Any], overrides: dict[str, Any]) -> Any:
        from intermodal.families import resolve
        from intermodal.processing.load import tokenizer_from_repository, tokenizer_of
        from intermodal.processing.load_processor import processor_from_repository

        if overrides:
            raise ConfigError(f"AutoProcessor takes no {', '.join(overrides)}: change the parts of what it returns.")
        parts = tokenizer_from_repository(repository)
        tokenizer = tokenizer_of(parts) if parts else None
        if family.processor:
            config, _ = resolve(family.config).from_hf(raw)
            return processor_from_repository(repository, family, tokenizer, config)
        if tokenizer is not None:
            return tokenizer
        others = (AutoImageProcessor, AutoFeatureExtractor)
        return next((found for auto in others if (found := auto._read(repository, family, raw, {})) is not None), None)
