"""What lies beside SafeTensors files and says which model they are: config.json, or a params.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.strict_json import read_object
from intermodal.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

CONSOLIDATED = "consolidated"
"""A layout that some publishers use beside Hugging Face's or instead of it: `consolidated.safetensors`, or shards of
that name and their index, with tensor names and a params.json of its own. The stem of its files is its dialect too."""

CONSOLIDATED_FILES = (f"{CONSOLIDATED}.safetensors", f"{CONSOLIDATED}.safetensors.index.json")
PARAMS = "params.json"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is; see the attributes of `Checkpoint` of the same names."""

    dialect: str
    family_key: str
    config: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


def identify(repository: Repository, weights: str) -> Identity:
    """Read the file that says which model the weights are.

    Args:
        repository: where the files are.
        weights: name of the weight file or index that was chosen.

    Raises:
        CheckpointError: there is no such file.
        ConfigError: it is malformed, or does not name the model.
    """
    if weights.startswith(CONSOLIDATED) and repository.has(PARAMS):
        params = read_object(repository, PARAMS, ConfigError)
        # The programs that this layout is made for know two kinds, and an absent key is this one.
        kind = _named(params.get("model_type", "transformer"), PARAMS, repository)
        return Identity(CONSOLIDATED, f"{CONSOLIDATED}.{kind}", {}, params)
    if not repository.has("config.json"):
        note = f" ({repository.note})" if repository.note else ""
        raise CheckpointError(
            f"{repository.uri} has no config.json beside its weights{note}, and SafeTensors files do not say what "
            "model they are. Put the model's config.json into the same folder."
        )
    config = read_object(repository, "config.json", ConfigError)
    return Identity("huggingface", _named(config.get("model_type"), "config.json", repository), config)


def _named(value: Any, file: str, repository: Repository) -> str:
    if isinstance(value, str) and value:
        return value
    raise ConfigError(
        f"{file} of {repository.uri} has model_type {value!r}, expected the name of an architecture, such as the "
        "one that transformers writes into config.json. Add it to a local copy of the file."
    )
