"""Reading a checkpoint's image processor and processor from the files of its repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import ConfigError, TokenizerError
from intermodal.families import Family, resolve
from intermodal.processing.files import read_object

if TYPE_CHECKING:
    from intermodal.processing.image_processor import ImageProcessor
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.sources.base import Repository

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"


def image_processor_from_repository(
    repository: Repository, family: Family, overrides: Mapping[str, Any] | None = None
) -> ImageProcessor | None:
    """The image processor of a checkpoint, or None where its family takes no images or it has no file that says how.

    Raises:
        ConfigError: a file is malformed, or asks for what is not done.
    """
    return _part(repository, "image_processor", family.image_processor, overrides)


def feature_extractor_from_repository(
    repository: Repository, family: Family, overrides: Mapping[str, Any] | None = None
) -> Any:
    """The feature extractor of a checkpoint, or None where its family takes no sound or no file says how.

    Raises:
        ConfigError: a file is malformed, or asks for what is not done.
    """
    return _part(repository, "feature_extractor", family.feature_extractor, overrides)


def _part(repository: Repository, name: str, dotted: str, overrides: Mapping[str, Any] | None) -> Any:
    """What `dotted` reads of its settings: those of that name in processor_config.json, where transformers 5 writes
    them, else preprocessor_config.json."""
    if not dotted:
        return None
    within = _read(repository, PROCESSOR).get(name)
    if within is not None and not isinstance(within, dict):
        raise ConfigError(f"{PROCESSOR} of {repository.uri}: {name} is no object.")
    if within is None and not repository.has(PREPROCESSOR):
        return None
    file = PREPROCESSOR if within is None else PROCESSOR
    raw = _read(repository, PREPROCESSOR) if within is None else within
    return resolve(dotted).from_hf({**raw, **(overrides or {})}, file=file)


def processor_from_repository(repository: Repository, family: Family, tokenizer: Tokenizer | None, config: Any) -> Any:
    """What makes a checkpoint's inputs of more than text: its processor; else its image processor or feature extractor.

    It is None where its family has none of them, or a part of it is not there. A recording needs no text beside it: a
    checkpoint without a tokenizer has its feature extractor alone.

    Raises:
        ConfigError: a file is malformed, or contradicts config.json.
    """
    part = image_processor_from_repository(repository, family)
    key = "image_processor" if part is not None else "feature_extractor"
    part = feature_extractor_from_repository(repository, family) if part is None else part
    if part is None or not family.processor:
        return part
    if tokenizer is None:
        return part if key == "feature_extractor" else None
    raw = {name: value for name, value in _read(repository, PROCESSOR).items() if name != key}
    return resolve(family.processor)(tokenizer, part, config, raw)


def _read(repository: Repository, name: str) -> dict[str, Any]:
    if not repository.has(name):
        return {}
    try:
        return read_object(repository, name)
    except TokenizerError as error:
        raise ConfigError(str(error)) from error
