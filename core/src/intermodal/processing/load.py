"""Reading a checkpoint's tokenizer, and what comes with it for generating text, from the files of its repository."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded, put_around_texts
from intermodal.processing.class_defaults import CTC_CLASS
from intermodal.processing.files import MAX_JSON, read_object, read_text
from intermodal.processing.flags import apply_flags, difference, golden_ids
from intermodal.processing.overrides import overridden
from intermodal.processing.special_tokens import add_declared, read_declared
from intermodal.processing.tokenizer import Tokenizer, TokenizerParts
from intermodal.sources.base import Repository

if TYPE_CHECKING:
    import tokenizers

    from intermodal.checkpoints.base import Checkpoint

_SMALL = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
_TEMPLATE_FOLDERS = ("additional_chat_templates", "chat_templates")
_TEKKEN = "tekken.json"
_LETTERS = "vocab.json"
_VERSIONED = re.compile(r"tokenizer\.model\.v\d+(m\d+)?")
MAX_TEMPLATES = 64


def checkpoint_tokenizer(checkpoint: Checkpoint, overrides: Mapping[str, Any] | None = None) -> Tokenizer | None:
    """The tokenizer of a checkpoint: its own where the format carries one, else from the files beside it.

    Args:
        checkpoint: opened.
        overrides: see `tokenizer_from_repository`.

    Raises:
        TokenizerError: its files are malformed, or of a kind that cannot be read.
    """
    own = checkpoint.tokenizer_parts()
    parts = overridden(own, overrides or {}) if own else tokenizer_from_repository(checkpoint.repository, overrides)
    return tokenizer_of(parts) if parts else None


def tokenizer_of(parts: TokenizerParts) -> Tokenizer:
    """The tokenizer of these parts: one of letters in frames, where they say so, else one of text."""
    if not parts.ctc:
        return Tokenizer(parts)
    from intermodal.processing.ctc import CTCTokenizer

    return CTCTokenizer(parts)


def tokenizer_from_repository(
    repository: Repository, overrides: Mapping[str, Any] | None = None
) -> TokenizerParts | None:
    """Read the tokenizer of a repository, or None where it has none. Only the files needed are fetched.

    tokenizer.json is taken as it is, whatever class other files name. Where it is absent, tekken.json, vocab.json with
    merges.txt, vocab.txt or tokenizer.model (also with a version behind: tokenizer.model.v3) are read; and vocab.json
    alone, of letters, where the files say that the model was trained by CTC. Flags of
    tokenizer_config.json that change what tokenizer.json does are applied, and a warning says so (`processing.flags`).

    Args:
        repository: where the files are.
        overrides: values that replace those of tokenizer_config.json.

    Raises:
        SourceError: a file cannot be fetched, or is absurdly large.
        TokenizerError: a file is malformed, or of a kind that cannot be read; names it.
    """
    vocabulary = _vocabulary_files(repository)
    ctc = vocabulary is None and _is_ctc(repository)
    if vocabulary is None and not ctc:
        return None
    vocabulary = vocabulary or [_LETTERS]
    templates = [name for name in repository.files() if _is_template(name)]
    if len(templates) > MAX_TEMPLATES:
        raise TokenizerError(f"{repository.uri} has {len(templates)} chat templates, expected at most {MAX_TEMPLATES}.")
    small = [name for name in (*_SMALL, "chat_template.json") if repository.has(name)]
    repository.fetch([*vocabulary, *small, *templates])
    asked = dict(overrides or {})
    config = {**_object(repository, "tokenizer_config.json"), **asked}
    if isinstance(named := _object(repository, "config.json").get("tokenizer_class"), str):
        config.setdefault("tokenizer_class", named)
    # The library that reads these files begins every text with bos and, as SentencePiece itself, with a space.
    if vocabulary[0] == _TEKKEN:
        config = {"add_bos_token": True, **config}
    if _VERSIONED.fullmatch(vocabulary[0]):
        config = {"add_bos_token": True, "legacy": True, **config}
    origin = f"{repository.uri} ({', '.join(vocabulary)})"
    declared = read_declared(
        config, _object(repository, "special_tokens_map.json"), _object(repository, "added_tokens.json"), repository.uri
    )
    if ctc:
        from intermodal.processing.ctc import build_ctc

        letters = read_object(repository, _LETTERS, MAX_JSON)
        backend, roles = build_ctc(letters, config, declared.named, origin)
    else:
        backend, roles = _build(repository, vocabulary, config, declared.named, origin)
    declared.name(roles)
    with guarded(origin):
        golden = golden_ids(backend)
        add_declared(backend, declared, origin)
        roles = declared.named
        if vocabulary[0] == "tokenizer.json":
            changed = apply_flags(backend, config, roles, origin, asked)
            sentence = difference(backend, golden, changed, origin)
            if sentence and not any(flag.partition(" ")[0] in asked for flag in changed):
                warnings.warn(sentence, stacklevel=2)
        elif vocabulary[0] != "vocab.txt" and not ctc:
            put_around_texts(backend, config, roles, origin)
    return TokenizerParts(
        backend=backend,
        special_tokens=roles,
        chat_templates=_chat_templates(repository, config, templates, asked.get("chat_template")),
        config={key: value for key, value in config.items() if key not in (*roles, "chat_template")},
        origin=repository.uri,
        ctc=ctc,
    )


def read_generation_config(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """generation_config.json beside a checkpoint, or None. A malformed one is left out, with a warning."""
    name = "generation_config.json"
    if not checkpoint.repository.has(name):
        return None
    try:
        return read_object(checkpoint.repository, name)
    except TokenizerError as error:
        # Published checkpoints have trailing commas there; nothing in it is needed to compute the model.
        warnings.warn(f"{error} It is ignored, and generation uses the usual defaults.", stacklevel=2)
        return None


def _vocabulary_files(repository: Repository) -> list[str] | None:
    usual = (["tokenizer.json"], [_TEKKEN], ["vocab.json", "merges.txt"], ["vocab.txt"], ["tokenizer.model"])
    for names in usual:
        if all(repository.has(name) for name in names):
            return names
    versions = sorted(filter(_VERSIONED.fullmatch, repository.files()))
    if len(versions) > 1:
        raise TokenizerError(
            f"{repository.uri} has {' and '.join(versions)}: keep the one that the model was made for."
        )
    if versions:
        return versions
    for name in ("spiece.model", "sentencepiece.bpe.model", "tiktoken.model"):
        if repository.has(name):
            raise TokenizerError(
                f"{repository.uri} has its tokenizer only as {name}, which is not read. Supply the tokenizer.json that "
                "transformers writes: AutoTokenizer.from_pretrained(…).save_pretrained(…)."
            )
    return None


def _is_ctc(repository: Repository) -> bool:
    """Whether vocab.json has letters: the class says so, or where none is named the model's own class."""
    if not repository.has(_LETTERS):
        return False
    config = _object(repository, "config.json")
    named = _object(repository, "tokenizer_config.json").get("tokenizer_class") or config.get("tokenizer_class")
    if named is not None:
        return named == CTC_CLASS
    architectures = config.get("architectures") or []
    return isinstance(architectures, list) and any(str(name).endswith("ForCTC") for name in architectures)


def _build(
    repository: Repository, names: list[str], config: dict[str, Any], declared: Mapping[str, str], origin: str
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    if names[0] == "tokenizer.json":
        import tokenizers

        data = repository.read_small(names[0], MAX_JSON)  # as text it would take up to four times the memory
        with guarded(origin):
            return tokenizers.Tokenizer.from_buffer(data), {}
    if names[0] == "vocab.json":
        from intermodal.processing.byte_level_bpe import build_byte_level_bpe

        vocabulary = read_object(repository, names[0], MAX_JSON)
        return build_byte_level_bpe(vocabulary, read_text(repository, names[1], MAX_JSON), config, origin)
    if names[0] == "vocab.txt":
        from intermodal.processing.wordpiece import build_wordpiece

        return build_wordpiece(read_text(repository, names[0], MAX_JSON), config, declared, origin)
    if names[0] == _TEKKEN:
        from intermodal.processing.tekken import build_tekken

        return build_tekken(read_object(repository, names[0], MAX_JSON), origin)
    from intermodal.processing.sentencepiece import build_sentencepiece

    return build_sentencepiece(repository.read_small(names[0], MAX_JSON), config, origin)


def _object(repository: Repository, name: str) -> dict[str, Any]:
    return read_object(repository, name, MAX_JSON) if repository.has(name) else {}


def _is_template(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".jinja" and str(path.parent) in _TEMPLATE_FOLDERS


def _chat_templates(
    repository: Repository, config: Mapping[str, Any], more: list[str], asked: str | None = None
) -> dict[str, str]:
    """Templates by name. What is asked for goes before files of their own, tokenizer_config.json, and a processor's."""
    templates = {PurePosixPath(name).stem: read_text(repository, name) for name in more}
    if repository.has("chat_template.jinja"):
        templates["default"] = read_text(repository, "chat_template.jinja")
    if asked is not None and templates:
        templates["default"] = asked
    value = templates or config.get("chat_template") or _object(repository, "chat_template.json").get("chat_template")
    if value is None or isinstance(value, str):
        return {} if value is None else {"default": value}
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        value = {entry.get("name"): entry.get("template") for entry in value}
    if not isinstance(value, dict) or not all(isinstance(part, str) for entry in value.items() for part in entry):
        raise TokenizerError(
            f"{repository.uri}: chat_template is a string, or a list of objects with a name and a template."
        )
    return value
