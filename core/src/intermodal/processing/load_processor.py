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

    It is under `image_processor` in processor_config.json, as transformers 5 writes it, else in
    preprocessor_config.json.

    Raises:
        ConfigError: a file is malformed, or asks for what is not done.
    """
    if not family.image_processor:
        return None
    within = _read(repository, PROCESSOR).get("image_processor")
    if within is not None and not isinstance(within, dict):
        raise ConfigError(f"{PROCESSOR} of {repository.uri}: image_processor is no object.")
    if within is None and not repository.has(PREPROCESSOR):
        return None
    file = PREPROCESSOR if within is None else PROCESSOR
    raw = _read(repository, PREPROCESSOR) if within is None else within
    return resolve(family.image_processor).from_hf({**raw, **(overrides or {})}, file=file)


def feature_extractor_from_repository(
    repository: Repository, family: Family, overrides: Mapping[str, Any] | None = None
) -> Any:
    """The feature extractor of a checkpoint, or None where its family takes no sound or no file says how.

    Raises:
        ConfigError: the file is malformed, or asks for what is not done.
    """
    if not family.feature_extractor or not repository.has(PREPROCESSOR):
        return None
    raw = {**_read(repository, PREPROCESSOR), **(overrides or {})}
    return resolve(family.feature_extractor).from_hf(raw, file=PREPROCESSOR)


def processor_from_repository(repository: Repository, family: Family, tokenizer: Tokenizer | None, config: Any) -> Any:
    """What makes a checkpoint's inputs of more than text: its processor; else its image processor or feature extractor.

    It is None where its family has none of them, or a part of it is not there.

    Raises:
        ConfigError: a file is malformed, or contradicts config.json.
    """
    if not family.processor:
        found = image_processor_from_repository(repository, family)
        return feature_extractor_from_repository(repository, family) if found is None else found
    if tokenizer is None:
        return None
    image_processor = image_processor_from_repository(repository, family)
    if image_processor is None:
        return None
    raw = {key: value for key, value in _read(repository, PROCESSOR).items() if key != "image_processor"}
    return resolve(family.processor)(tokenizer, image_processor, config, raw)


def _read(repository: Repository, name: str) -> dict[str, Any]:
    if not repository.has(name):
        return {}
    try:
        return read_object(repository, name)
    except TokenizerError as error:
        raise ConfigError(str(error)) from error
