"""What is in the files: finds the format of a checkpoint and opens it, reading nothing but headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from intermodal.errors import CheckpointError, MissingPluginError, UnsafeCheckpointError

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint, CheckpointReader
    from intermodal.sources.base import Repository

# Weights that run code when they are read (pickle), or that belong to one framework's own classes (h5, msgpack).
_UNSAFE = frozenset({"bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "h5", "msgpack"})
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state).*")
_DOCUMENTS = frozenset(
    "json jsonl txt md model py jinja yaml yml toml cfg csv tsv html pdf png jpg jpeg gif svg webp wav mp3 mp4 ipynb "  # noqa: SIM905
    "gitattributes gitignore lock".split()
)
_FORMATS_OF_PLUGINS = ("gguf",)  # suffixes that are weights: a missing reader of theirs is worth an error of its own


def open_checkpoint(
    repository: Repository,
    reader_for: Callable[[str], CheckpointReader] | None = None,
    *,
    variant: str | None = None,
) -> Checkpoint:
    """Open the checkpoint that a repository holds. Headers and config are read and checked, tensors are not.

    A selected file decides by its suffix. In a folder SafeTensors comes first, then the formats of plugins.

    Args:
        repository: where the files are.
        reader_for: gives the reader of a file suffix without its dot, or raises MissingPluginError.
        variant: of SafeTensors files: `model.<variant>.safetensors`.

    Raises:
        UnsafeCheckpointError: there are only weights that run code when read.
        CheckpointError: there are no weights, several checkpoints, malformed ones, or none of that variant.
        PluginError: the format's plugin is missing or cannot be used.
    """
    from intermodal.checkpoints.safetensors import SafetensorsReader

    own = SafetensorsReader(variant)
    if own.matches(repository):
        return own.open(repository)
    if variant is not None:
        raise CheckpointError(
            f"{repository.uri} holds no SafeTensors files, and only those come in variants: leave out "
            f"variant={variant!r}."
        )
    reader_for = reader_for or _no_reader
    if repository.selected is not None:
        suffix = _suffix(repository.selected)
        if suffix in _UNSAFE:
            raise _unsafe(repository, [repository.selected])
        return reader_for(suffix).open(repository)
    return _open_folder(repository, reader_for)


def _open_folder(repository: Repository, reader_for: Callable[[str], CheckpointReader]) -> Checkpoint:
    from intermodal.sources.base import at_most

    by_suffix: dict[str, list[str]] = {}
    for name in sorted(repository.files()):
        by_suffix.setdefault(_suffix(name), []).append(name)
    missing: MissingPluginError | None = None
    for suffix in by_suffix:
        if suffix in _DOCUMENTS or suffix in _UNSAFE or not suffix:
            continue
        try:
            reader = reader_for(suffix)
        except MissingPluginError as error:
            missing = error if suffix in _FORMATS_OF_PLUGINS else missing
            continue
        if reader.matches(repository):
            return reader.open(repository)
    if missing is not None:
        raise missing
    unsafe = [
        name
        for suffix in sorted(_UNSAFE)
        for name in by_suffix.get(suffix, ())
        if "/" not in name and not _NO_WEIGHTS.fullmatch(name)
    ]
    if unsafe:
        raise _unsafe(repository, unsafe)
    note = f" ({repository.note})" if repository.note else ""
    raise CheckpointError(
        f"{repository.uri} holds no weights that can be read: model.safetensors, or a format that a plugin adds. "
        f"It holds: {at_most(repository.files())}{note}."
    )


def _unsafe(repository: Repository, names: list[str]) -> UnsafeCheckpointError:
    from intermodal.sources.base import at_most

    return UnsafeCheckpointError(
        f"{repository.uri} holds its weights only as {at_most(names, 4)}. Such files can run code when they are read, "
        "so they are never opened. To get SafeTensors: ask https://huggingface.co/spaces/safetensors/convert, which "
        "opens a pull request N on the Hub, and load hf://org/name@refs/pr/N; or, where you trust the files, run "
        "transformers: AutoModel.from_pretrained(…).save_pretrained(folder)."
    )


def _no_reader(suffix: str) -> CheckpointReader:
    raise MissingPluginError(f"Nothing reads .{suffix} files here. Install the plugin: pip install intermodal-{suffix}")


def _suffix(name: str) -> str:
    """What is behind a name's last dot, in lower case."""
    return name.rpartition(".")[2].lower() if "." in name else ""
