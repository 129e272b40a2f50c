"""Reading how a checkpoint makes one vector of a text: the files of sentence-transformers, or GGUF's pooling type.

The layout is that of sentence-transformers 2 to 6: modules.json lists the model and what follows it, each in its own
folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.joined import JoinedCheckpoint
from intermodal.checkpoints.strict_json import CONFIG_LIMIT, read_object
from intermodal.errors import ConfigError, TaskError
from intermodal.processing.dense import Dense
from intermodal.processing.sentences import (
    FIRST_DENSE,
    MODULE,
    OPTIONS,
    PIPELINE,
    POOLING_KEYS,
    TRANSFORMER,
    SentenceSettings,
)

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.sources.base import Repository

_GGUF_POOLING = {1: "mean", 2: "cls", 3: "lasttoken"}
_GGUF_DENSE = (FIRST_DENSE, FIRST_DENSE + 1)
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
_OPTION_KEYS = {"model_type", "__version__", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"}


def tells_pooling(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint says how to make one vector of a text. Looks at names and metadata only."""
    return checkpoint.repository.has(PIPELINE) or _gguf_pooling(checkpoint) is not None


def read_sentences(checkpoint: Checkpoint, hidden_size: int) -> tuple[SentenceSettings, Checkpoint]:
    """Read how a checkpoint makes one vector of a text.

    GGUF files hold the pooling and perhaps linears without activations; vectors are then normalised, as llama.cpp's own
    programs do. Where modules.json lies beside a GGUF file, its word counts, and weights that the file lacks are read
    from the modules' folders.

    Args:
        checkpoint: of the model.
        hidden_size: of its hidden states.

    Returns:
        The settings, and the checkpoint with the weights of all modules.

    Raises:
        TaskError: it does not say.
        ConfigError: a file is malformed, or asks for what is not done here; names file and key.
        CheckpointError: a module's weights are missing or malformed.
    """
    repository = checkpoint.repository
    in_gguf = _gguf_dense(checkpoint)
    if repository.has(PIPELINE):
        settings, folders = _read_pipeline(repository, hidden_size)
        if folders and not in_gguf:
            return settings, JoinedCheckpoint(checkpoint, dict(zip(settings.dense_modules(), folders, strict=True)))
        return settings, checkpoint
    mode = _gguf_pooling(checkpoint)
    if mode is None:
        raise TaskError(
            f"{repository.uri} does not say how to make one vector of a text: it has no {PIPELINE} as "
            'sentence-transformers writes it. load(uri, task="feature-extraction") gives a vector for each token.'
        )
    settings = SentenceSettings((mode,), normalize=True, dense=in_gguf)
    _check_widths(settings, [f"dense_{number}" for number in _GGUF_DENSE], hidden_size, repository.uri)
    return settings, checkpoint


def _gguf_pooling(checkpoint: Checkpoint) -> str | None:
    architecture = checkpoint.metadata.get("general.architecture")
    kind = checkpoint.metadata.get(f"{architecture}.pooling_type")
    return _GGUF_POOLING.get(kind) if isinstance(kind, int) else None


def _gguf_dense(checkpoint: Checkpoint) -> tuple[Dense, ...]:
    """The linears that a GGUF file holds, in order. Its keys tell their widths once more."""
    lead = f"{checkpoint.metadata.get('general.architecture')}.dense"
    found: list[Dense] = []
    for number in _GGUF_DENSE:
        told = [checkpoint.metadata.get(f"{lead}_{number}_feat_{side}") for side in ("in", "out")]
        info = checkpoint.tensors.get(f"dense_{number}.weight")
        if info is None and told == [None, None]:
            continue
        if info is None or len(info.shape) != 2 or told not in ([None, None], [*info.shape[::-1]]):
            raise ConfigError(
                f"{checkpoint.repository.uri}: {lead}_{number}_feat_in and _out are {told}, but dense_{number}.weight "
                f"is {info.shape if info else 'missing'}, expected (out, in). Convert the model again."
            )
        if len(found) != number - FIRST_DENSE:
            raise ConfigError(f"{checkpoint.repository.uri} holds dense_{number}.weight without the one before it.")
        outputs, inputs = info.shape
        bias = f"dense_{number}.bias" in checkpoint.tensors
        found.append(Dense(inputs, outputs, bias=bias, activation="Identity"))
    return tuple(found)


def _read_pipeline(repository: Repository, hidden_size: int) -> tuple[SentenceSettings, list[str]]:
    """The settings, and the folder of each linear."""
    modules = [_module(repository, entry) for entry in _list(repository)]
    kinds = [kind for kind, _ in modules if kind != "Dropout"]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise ConfigError(f"{_where(PIPELINE, repository)} lists {kinds}, expected Transformer, Pooling, and so on.")
    for kind, path in modules[2:]:
        if kind not in ("Dense", "Normalize", "Dropout"):
            raise ConfigError(
                f"{_where(PIPELINE, repository)}: the module {kind} ({path!r}) is not supported; Transformer, "
                'Pooling, Dense and Normalize are. load(uri, task="feature-extraction") gives the model without them.'
            )
    if "Dense" in kinds and "Normalize" in kinds[: len(kinds) - kinds[::-1].index("Dense")]:
        raise ConfigError(f"{_where(PIPELINE, repository)}: a Normalize before a Dense is not supported: {kinds}.")
    paths = {kind: [path for its_kind, path in modules if its_kind == kind] for kind in kinds}
    if paths["Transformer"] != [""]:
        folder = paths["Transformer"][0]
        raise ConfigError(
            f"{_where(PIPELINE, repository)}: the model is in the folder {folder}. Load it from there: "
            f'load(uri, subfolder="{folder}")'
        )
    pooling, include_prompt = _read_pooling(repository, paths["Pooling"][0])
    max_length, lowercase = _read_transformer(repository)
    for path in paths.get("Normalize", []):
        _check_normalize(repository, path)
    folders = paths.get("Dense", [])
    settings = SentenceSettings(
        pooling,
        "Normalize" in kinds,
        max_length,
        lowercase,
        include_prompt=include_prompt,
        dense=tuple(Dense.read(repository, folder) for folder in folders),
        **_read_options(repository),
    )
    _check_widths(settings, folders, hidden_size, _where(PIPELINE, repository))
    return settings, folders


def _check_widths(settings: SentenceSettings, folders: Sequence[str], hidden_size: int, where: str) -> None:
    width = hidden_size * len(settings.pooling)
    for folder, dense in zip(folders, settings.dense, strict=False):
        if dense.in_features != width:
            raise ConfigError(f"{where}: {folder} takes in_features = {dense.in_features}, but gets {width}.")
        width = dense.out_features


def _list(repository: Repository) -> list[Any]:
    where = _where(PIPELINE, repository)
    try:
        value = json.loads(repository.read_small(PIPELINE, CONFIG_LIMIT))
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
            f"{_where(PIPELINE, repository)}: expected objects with type and path, got {str(entry)[:100]}."
        )
    if not kind.startswith(MODULE):
        raise ConfigError(
            f"{_where(PIPELINE, repository)}: {kind} is code of the repository's own, which is not run."
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
    if not repository.has(TRANSFORMER):
        return None, False
    values = read_object(repository, TRANSFORMER, ConfigError)
    where = _where(TRANSFORMER, repository)
    limit, lowercase = values.pop("max_seq_length", None), values.pop("do_lower_case", False)
    if limit is not None and (type(limit) is not int or not 0 < limit < 2**31):
        raise ConfigError(f"{where}: max_seq_length is {limit!r}, expected a positive integer.")
    if not isinstance(lowercase, bool):
        raise ConfigError(f"{where}: do_lower_case is {lowercase!r}, expected true or false.")
    for key, value in values.items():
        if key not in _HARMLESS or value not in _HARMLESS[key]:
            raise ConfigError(f"{where}: {key} = {str(value)[:100]} is not supported, and may change the vectors.")
    return limit, lowercase


def _read_options(repository: Repository) -> dict[str, Any]:
    """Prompts and what else belongs to the whole: arguments of `SentenceSettings`."""
    if not repository.has(OPTIONS):
        return {}
    values = read_object(repository, OPTIONS, ConfigError)
    where = _where(OPTIONS, repository)
    unknown = sorted(values.keys() - _OPTION_KEYS)
    if unknown:
        raise ConfigError(f"{where}: the keys {unknown} are not known, and may change the vectors.")
    kind = values.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise ConfigError(f"{where}: model_type is {str(kind)[:100]}; only SentenceTransformer is read.")
    prompts, default = values.get("prompts") or {}, values.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigError(f"{where}: prompts is {str(prompts)[:100]}, expected texts by name.")
    if default is not None and default not in prompts:
        raise ConfigError(f"{where}: default_prompt_name is {default!r}, expected one of {sorted(prompts)}.")
    similarity, truncate = values.get("similarity_fn_name"), values.get("truncate_dim")
    if similarity is not None and not isinstance(similarity, str):
        raise ConfigError(f"{where}: similarity_fn_name is {str(similarity)[:100]}, expected a name.")
    if truncate is not None and (type(truncate) is not int or truncate < 1):
        raise ConfigError(f"{where}: truncate_dim is {str(truncate)[:100]}, expected a positive integer.")
    return {"prompts": prompts, "default_prompt": default, "similarity": similarity, "truncate": truncate}


def _check_normalize(repository: Repository, path: str) -> None:
    name = f"{path}/config.json"
    if not repository.has(name):
        return
    for key, value in read_object(repository, name, ConfigError).items():
        if not (key in ("module_input_name", "module_output_name") and value in (None, "sentence_embedding")):
            raise ConfigError(f"{_where(name, repository)}: {key} = {str(value)[:100]} is not supported.")


def _where(name: str, repository: Repository) -> str:
    return f"{name} of {repository.uri}"
