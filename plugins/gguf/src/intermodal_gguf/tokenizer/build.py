"""Put a tokenizer together: the backend of its kind, added tokens, what is put around a text, and chat templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from intermodal.api import TokenizerError
from tokenizers import Tokenizer

from intermodal_gguf.tokenizer.added import add_tokens, surround
from intermodal_gguf.tokenizer.byte_level import byte_level_tokenizer, find_pre_tokenizer
from intermodal_gguf.tokenizer.sentencepiece import merged_sentencepiece_tokenizer, sentencepiece_tokenizer
from intermodal_gguf.tokenizer.vocabulary import Vocab, read_vocab
from intermodal_gguf.tokenizer.wordpiece import wordpiece_tokenizer

if TYPE_CHECKING:
    from intermodal.api import TokenizerParts

_TEMPLATE = "tokenizer.chat_template"
_STOPS = ("eot", "eom")


@dataclass(frozen=True)
class _Kind:
    backend: Callable[[Vocab], Tokenizer]
    # The ids that llama.cpp takes where no key names one.
    defaults: Mapping[str, int]


_KINDS = {
    "gpt2": _Kind(byte_level_tokenizer, {}),
    "llama": _Kind(sentencepiece_tokenizer, {"bos": 1, "eos": 2, "unk": 0}),
    "gemma4": _Kind(merged_sentencepiece_tokenizer, {}),
    "bert": _Kind(wordpiece_tokenizer, {"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103}),
}


def build_tokenizer(metadata: Mapping[str, Any], architecture: str, origin: str) -> TokenizerParts | None:
    """Build the tokenizer that a file's keys describe.

    Args:
        metadata: all keys of the file.
        architecture: `general.architecture`, for the context length.
        origin: what messages name, and `TokenizerParts.origin`.

    Returns:
        None where the file carries no tokenizer.

    Raises:
        TokenizerError: its kind or its pre-tokenizer is not known, or its lists contradict each other.
    """
    from intermodal.api import TokenizerParts

    model = metadata.get("tokenizer.ggml.model")
    if model in (None, "none", "no_vocab"):
        return None
    kind = _KINDS.get(model) if isinstance(model, str) else None
    if kind is None:
        raise TokenizerError(
            f"{origin}: tokenizers of the kind {model!r} (tokenizer.ggml.model) are not supported, only "
            f"{', '.join(_KINDS)}. Load the original model's repository instead."
        )
    vocab = read_vocab(metadata, kind.defaults, origin)
    if model == "bert":
        vocab = _with_cls(vocab)
    backend = kind.backend(vocab)
    add_tokens(backend, vocab)
    config = {"clean_up_tokenization_spaces": False} | _put_around(backend, vocab, model)
    limit = metadata.get(f"{architecture}.context_length")
    if isinstance(limit, int):
        config["model_max_length"] = limit
    return TokenizerParts(
        backend=backend,
        special_tokens={
            f"{role}_token": str(backend.id_to_token(index))
            for role, index in vocab.roles.items()
            if role not in _STOPS
        },
        chat_templates=_chat_templates(vocab),
        config=config,
        stop_ids=tuple(dict.fromkeys(vocab.roles[role] for role in _STOPS if role in vocab.roles)),
        origin=origin,
    )


def _with_cls(vocab: Vocab) -> Vocab:
    """What llama.cpp calls a WordPiece vocabulary's bos is its [CLS]."""
    roles = {role: index for role, index in vocab.roles.items() if role != "bos"}
    if "bos" in vocab.roles:
        roles.setdefault("cls", vocab.roles["bos"])
    return replace(vocab, roles=roles)


def _put_around(backend: Tokenizer, vocab: Vocab, model: str) -> dict[str, Any]:
    """Set up what stands around every text; give it in the words of tokenizer_config.json."""
    if model == "bert":
        surround(backend, vocab, "cls", "sep", segments=True)
        return {"tokenizer_class": "BertTokenizer"}
    by_default = find_pre_tokenizer(vocab).bos if model == "gpt2" else True
    add_bos, add_eos = vocab.flag("add_bos_token", by_default), vocab.flag("add_eos_token", False)
    surround(backend, vocab, "bos" if add_bos else None, "eos" if add_eos else None, segments=False)
    return {"add_bos_token": add_bos, "add_eos_token": add_eos, "tokenizer_class": "PreTrainedTokenizerFast"}


def _chat_templates(vocab: Vocab) -> dict[str, str]:
    templates: dict[str, str] = {}
    for key, value in vocab.metadata.items():
        if key == _TEMPLATE or key.startswith(_TEMPLATE + "."):
            if not isinstance(value, str):
                raise vocab.fail(f"the chat template {key} is no text")
            templates[key[len(_TEMPLATE) + 1 :] or "default"] = value
    return templates
