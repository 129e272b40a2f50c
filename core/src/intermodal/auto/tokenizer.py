"""AutoTokenizer: a checkpoint's tokenizer, from whatever files it has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from intermodal.auto.location import take_location
from intermodal.auto.registry import NeverMade, Registered
from intermodal.catalog import FORMATS, usable
from intermodal.errors import MissingPluginError, TokenizerError
from intermodal.suggestions import known

if TYPE_CHECKING:
    from intermodal.auto.location import Location
    from intermodal.config import ModelConfig
    from intermodal.processing.tokenizer import Tokenizer

_REGISTERED = Registered("AutoTokenizer")


class AutoTokenizer(NeverMade):
    """Gives the tokenizer of a checkpoint. Neither weights nor a plugin for the model are needed.

    Example:
        tokenizer = AutoTokenizer.from_pretrained("org/name")
        tokenizer(["one text", "another"], padding=True, return_tensors="np")
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Tokenizer:
        """Read a tokenizer: tokenizer.json as it is, else tekken.json, vocab.json with merges.txt, vocab.txt,
        tokenizer.model, or what a GGUF file carries. An adapter that brings none has its model's.

        Args:
            pretrained_model_name_or_path: `org/name` on the Hub, a folder, a file, or any URI of `intermodal.load`.
            kwargs: revision, subfolder, cache_dir, token, local_files_only, force_download and gguf_file; special
                tokens by role (`pad_token="…"`), padding_side, truncation_side, model_max_length, model_input_names,
                clean_up_tokenization_spaces, chat_template, add_bos_token, add_eos_token, add_prefix_space,
                do_lower_case, strip_accents, tokenize_chinese_chars and legacy, in place of what the files say. The
                files alone decide what kind of tokenizer it is: `config`, which can in transformers, is not asked.

        Raises:
            TokenizerError: there is none, its files are malformed, or a keyword is unknown or cannot be honoured.
        """
        from intermodal.processing.overrides import check_overrides

        registered = own_class(pretrained_model_name_or_path, kwargs)
        if registered is not None:
            return registered.from_pretrained(pretrained_model_name_or_path, **kwargs)
        location = take_location(pretrained_model_name_or_path, kwargs)
        kwargs.pop("config", None)
        if kwargs.pop("use_fast", None) is False:
            raise TokenizerError(
                "use_fast=False: there is one kind of tokenizer here, the fast one; leave use_fast out."
            )
        check_overrides(kwargs)
        tokenizer = _read(location, kwargs)
        if tokenizer is None:
            raise TokenizerError(
                f"{location.named} has no tokenizer: none of tokenizer.json, tekken.json, vocab.json with merges.txt, "
                "vocab.txt and tokenizer.model is there, and no GGUF file that carries one."
            )
        return tokenizer

    @staticmethod
    def register(
        config_class: type[ModelConfig],
        tokenizer_class: Any = None,
        slow_tokenizer_class: Any = None,
        fast_tokenizer_class: Any = None,
        exist_ok: bool = False,
    ) -> None:
        """Let a class of your own read the tokenizers of checkpoints with this config class, by its `from_pretrained`.

        Raises:
            TokenizerError: none is given.
            PluginError: there is one already, and `exist_ok` is false.
        """
        own = tokenizer_class or fast_tokenizer_class or slow_tokenizer_class
        if own is None:
            raise TokenizerError("AutoTokenizer.register needs a tokenizer_class.")
        _REGISTERED.add(config_class, own, exist_ok)


def own_class(name: str | os.PathLike[str], arguments: dict[str, Any]) -> Any:
    """The class that a program registered for this checkpoint's config, or None; args are `from_pretrained`'s."""
    if not _REGISTERED:
        return None
    from intermodal.auto.config import CONFIG, class_of, read_raw

    location = take_location(name, dict(arguments))
    if not location.open_model().has(CONFIG):
        return None
    try:
        return _REGISTERED.get(class_of(read_raw(location)[1]))
    except MissingPluginError:  # a tokenizer needs no plugin
        return None


def _read(location: Location, overrides: dict[str, Any]) -> Tokenizer | None:
    from intermodal.adapters.opening import is_adapter
    from intermodal.processing.load import checkpoint_tokenizer, tokenizer_from_repository, tokenizer_of

    repository = location.open()
    parts = tokenizer_from_repository(repository, overrides) if is_adapter(repository) else None
    if parts is not None:
        return tokenizer_of(parts)
    repository = location.open_model()
    if repository.selected is None or repository.selected.endswith((".json", ".safetensors", ".txt", ".model")):
        parts = tokenizer_from_repository(repository, overrides)
        if parts is not None:
            return tokenizer_of(parts)
    suffixes = {
        name.rpartition(".")[2] for name in (repository.selected and [repository.selected]) or repository.files()
    }
    if not suffixes & (known(FORMATS).keys() | {claim.key for claim in usable(FORMATS)}) - {"safetensors"}:
        return None
    from intermodal.checkpoints import open_checkpoint
    from intermodal.plugins import manager

    return checkpoint_tokenizer(open_checkpoint(repository, manager().reader), overrides)
