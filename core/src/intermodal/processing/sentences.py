"""How a checkpoint makes one vector of a text: the files of sentence-transformers, or GGUF's pooling type.

The layout is that of sentence-transformers 2 to 6: modules.json lists the model and what follows it, each in its own
folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.strict_json import CONFIG_LIMIT, read_object
from intermodal.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.sources.base import Repository

POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys of a Pooling module's config before version 6, in the order in which several are put side by side."""

_GGUF_POOLING = {1: "mean", 2: "cls", 3: "lasttoken"}
_MODULE = "sentence_transformers."
_PIPELINE, _TRANSFORMER, _PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "transformer_task": (None, "feature-extraction"),
    "module_output_name": (None, "token_embeddings"),
    "modality_config": (None, {}, {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}),
    "processing_kwargs": (None, {}),
    "unpad_inputs": (None, True, False),
    "query_length": (None,),
    "document_length": (None,),
    "query_expansion": (None,),
    "model_args": (None, {}),
    "tokenizer_args": (None, {}),
    "config_args": (None, {}),
}


@dataclass(frozen=True)
class SentenceSettings:
    """How hidden states become the vector of a text.

    Attributes:
        pooling: one or several of the values of `POOLING_KEYS`, which are put side by side.
        normalize: whether vectors are brought to length 1.
        max_length: tokens that a text is cut to; None leaves it to the tokenizer and the model.
        lowercase: whether texts are lower-cased before the tokenizer sees them.
        prompts: what is put before texts, by name.
        default_prompt: name of the one that is put there unless a call says otherwise.
        include_prompt: whether the prompt's own tokens are pooled too.
    """

    pooling: tuple[str, ...]
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; `SentenceSettings.from_dict` takes it."""
        return {**asdict(self), "pooling": list(self.pooling)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SentenceSettings:
        """The settings that `to_dict` gave."""
        return cls(**{**values, "pooling": tuple(values["pooling"])})

    def files(self, width: int) -> dict[str, Any]:
        """The files that sentence-transformers, of any version, reads the same from: name → JSON.

        Args:
            width: of the hidden states.
        """
        names = ["Transformer", "Pooling", *(["Normalize"] if self.normalize else [])]
        pooling: dict[str, Any] = {"word_embedding_dimension": width, "include_prompt": self.include_prompt}
        if tuple(mode for mode in POOLING_KEYS.values() if mode in self.pooling) == self.pooling:
            pooling |= {key: mode in self.pooling for key, mode in POOLING_KEYS.items()}
        else:
            pooling["pooling_mode"] = list(self.pooling)
        modules = [
            {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"{_MODULE}models.{name}"}
            for i, name in enumerate(names)
        ]
        limit = {} if self.max_length is None else {"max_seq_length": self.max_length}
        return {
            _PIPELINE: modules,
            "1_Pooling/config.json": pooling,
            _TRANSFORMER: {**limit, "do_lower_case": self.lowercase},
            _PROMPTS: {"prompts": dict(self.prompts), "default_prompt_name": self.default_prompt},
        }


def tells_pooling(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint says how to make one vector of a text. Looks at names and metadata only."""
    return checkpoint.repository.has(_PIPELINE) or _gguf_pooling(checkpoint) is not None


def sentence_settings(checkpoint: Checkpoint) -> SentenceSettings:
    """Read how a checkpoint makes one vector of a text.

    GGUF files hold the pooling alone; vectors are then normalised, as llama.cpp's own programs do.

    Raises:
        TaskError: it does not say.
        ConfigError: a file is malformed, or asks for what is not done here; names file and key.
    """
    repository = checkpoint.repository
    if repository.has(_PIPELINE):
        return _read_pipeline(repository)
    mode = _gguf_pooling(checkpoint)
    if mode is None:
        raise TaskError(
            f"{repository.uri} does not say how to make one vector of a text: it has no {_PIPELINE} as "
            'sentence-transformers writes it. load(uri, task="feature-extraction") gives a vector for each token.'
        )
    return SentenceSettings((mode,), normalize=True)


def _gguf_pooling(checkpoint: Checkpoint) -> str | None:
    architecture = checkpoint.metadata.get("general.architecture")
    kind = checkpoint.metadata.get(f"{architecture}.pooling_type")
    return _GGUF_POOLING.get(kind) if isinstance(kind, int) else None


def _read_pipeline(repository: Repository) -> SentenceSettings:
    modules = [_module(repository, entry) for entry in _list(repository)]
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise ConfigError(f"{_where(_PIPELINE, repository)} lists {kinds}, expected Transformer, Pooling, and so on.")
    for kind, path in modules[2:]:
        if kind not in ("Normalize", "Dropout"):
            raise ConfigError(
                f"{_where(_PIPELINE, repository)}: the module {kind} ({path!r}) is not supported; Transformer, "
                'Pooling and Normalize are. load(uri, task="feature-extraction") gives the model without them.'
            )
    if modules[0][1]:
        raise ConfigError(
            f"{_where(_PIPELINE, repository)}: the model is in the folder {modules[0][1]}. Load it from there: "
            f'load(uri, subfolder="{modules[0][1]}")'
        )
    pooling, include_prompt = _read_pooling(repository, modules[1][1])
    max_length, lowercase = _read_transformer(repository)
    prompts, default = _read_prompts(repository)
    for kind, path in modules[2:]:
        if kind == "Normalize":
            _check_normalize(repository, path)
    return SentenceSettings(
        pooling, "Normalize" in kinds, max_length, lowercase, prompts, default, include_prompt
    )  # fmt: skip


def _list(repository: Repository) -> list[Any]:
    where = _where(_PIPELINE, repository)
    try:
        value = json.loads(repository.read_small(_PIPELINE, CONFIG_LIMIT))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid JSON: {error}. Download or write the file again.") from None
    if not isinstance(value, list) or not 0 < len(value) <= 64:
        raise ConfigError(f"{where}: expected a list of modules.")
    return value


def _module(repository: Repository, entry: Any) -> tuple[str, str]:
    """Class name and folder of a module."""
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise ConfigError(
            f"{_where(_PIPELINE, repository)}: expected objects with type and path, got {str(entry)[:100]}."
        )
    if not kind.startswith(_MODULE):
        raise ConfigError(
            f"{_where(_PIPELINE, repository)}: {kind} is code of the repository's own, which is not run."
        )  # fmt: skip
    return kind.rpartition(".")[2], path


def _read_pooling(repository: Repository, path: str) -> tuple[tuple[str, ...], bool]:
    name = f"{path}/config.json"
    values = read_object(repository, name, ConfigError)
    where = _where(name, repository)
    include_prompt = values.get("include_prompt", True)
    if not isinstance(include_prompt, bool):
        raise ConfigError(f"{where}: include_prompt is {include_prompt!r}, expected true or false.")
    unknown = values.keys() - POOLING_KEYS.keys() - {
        "word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt"
    }  # fmt: skip
    if unknown:
        raise ConfigError(f"{where}: the keys {sorted(unknown)} are not known, and may change how it pools.")
    modes = values.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in POOLING_KEYS.items() if values.get(key)]
    modes = [modes] if isinstance(modes, str) else modes
    known = list(POOLING_KEYS.values())
    if not isinstance(modes, list) or not modes or any(mode not in known for mode in modes):
        raise ConfigError(f"{where}: the pooling is {str(modes)[:100]}, expected one or several of {', '.join(known)}.")
    return tuple(modes), include_prompt


def _read_transformer(repository: Repository) -> tuple[int | None, bool]:
    if not repository.has(_TRANSFORMER):
        return None, False
    values = read_object(repository, _TRANSFORMER, ConfigError)
    where = _where(_TRANSFORMER, repository)
    limit, lowercase = values.pop("max_seq_length", None), values.pop("do_lower_case", False)
    if limit is not None and (type(limit) is not int or not 0 < limit < 2**31):
        raise ConfigError(f"{where}: max_seq_length is {limit!r}, expected a positive integer.")
    if not isinstance(lowercase, bool):
        raise ConfigError(f"{where}: do_lower_case is {lowercase!r}, expected true or false.")
    for key, value in values.items():
        if key not in _HARMLESS or value not in _HARMLESS[key]:
            raise ConfigError(f"{where}: {key} = {str(value)[:100]} is not supported, and may change the vectors.")
    return limit, lowercase


def _read_prompts(repository: Repository) -> tuple[dict[str, str], str | None]:
    if not repository.has(_PROMPTS):
        return {}, None
    values = read_object(repository, _PROMPTS, ConfigError)
    where = _where(_PROMPTS, repository)
    prompts, default = values.get("prompts") or {}, values.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigError(f"{where}: prompts is {str(prompts)[:100]}, expected texts by name.")
    if default is not None and default not in prompts:
        raise ConfigError(f"{where}: default_prompt_name is {default!r}, expected one of {sorted(prompts)}.")
    return prompts, default


def _check_normalize(repository: Repository, path: str) -> None:
    name = f"{path}/config.json"
    if not repository.has(name):
        return
    for key, value in read_object(repository, name, ConfigError).items():
        if not (key in ("module_input_name", "module_output_name") and value in (None, "sentence_embedding")):
            raise ConfigError(f"{_where(name, repository)}: {key} = {str(value)[:100]} is not supported.")


def _where(name: str, repository: Repository) -> str:
    return f"{name} of {repository.uri}"
