"""What a tokenizer is made of, and what it knows without encoding anything: tokens, ids, sizes and limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing import class_defaults
from intermodal.processing.encoding import as_rows

if TYPE_CHECKING:
    import tokenizers

# transformers writes 10**30 for "no limit"; anything this large is none.
UNLIMITED = 10**20


@dataclass(frozen=True)
class TokenizerParts:
    """What a tokenizer is made of, wherever it was read from.

    Attributes:
        backend: splits text and joins tokens; it holds the vocabulary, the added tokens and the post-processor.
        special_tokens: tokens by role, `"bos_token"`, `"eos_token"`, `"unk_token"`, `"pad_token"` and others.
        chat_templates: Jinja sources by name; the one without a name is `"default"`.
        config: what else tokenizer_config.json says (`model_max_length`, `padding_side`, `model_input_names`, …).
        stop_ids: ids that end a turn, besides the eos token.
        origin: the file or URI it was read from; messages name it.
        ctc: its ids come one a frame, with blanks in between (`processing.ctc`).
    """

    backend: tokenizers.Tokenizer
    special_tokens: dict[str, str]
    chat_templates: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    stop_ids: tuple[int, ...] = ()
    origin: str = ""
    ctc: bool = False


def _token(role: str) -> Any:
    def get(self: Vocabulary) -> str | None:
        return self.special_tokens.get(role)

    def set(self: Vocabulary, token: str | None) -> None:
        self._set_special_token(role, token)

    return property(get, set, doc=f"The {role}, or None. Assign a token of the vocabulary to change it.")


def _token_id(role: str) -> Any:
    def get(self: Vocabulary) -> int | None:
        token = self.special_tokens.get(role)
        return None if token is None else self.backend.token_to_id(token)

    def set(self: Vocabulary, index: int | None) -> None:
        self._set_special_token(role, None if index is None else self._token_of(index))

    return property(get, set, doc=f"Id of the {role}, or None where there is none. Assign an id to change it.")


def _setting(name: str, default: Callable[[Any], str], doc: str) -> Any:
    def get(self: Vocabulary) -> str:
        return self.config.get(name) or default(self.config.get("tokenizer_class"))

    def set(self: Vocabulary, side: str) -> None:
        if side not in ("left", "right"):
            raise TokenizerError(f"{name} = {side!r}: expected 'left' or 'right'.")
        self.config[name] = side

    return property(get, set, doc=doc)


class Vocabulary:
    """The tokens of a tokenizer.

    Attributes:
        backend: the tokenizers library's own object.
        special_tokens: tokens by role.
        chat_templates: Jinja sources by name.
        config: what else tokenizer_config.json says.
        origin: where it was read from.
    """

    bos_token, bos_token_id = _token("bos_token"), _token_id("bos_token")
    eos_token, eos_token_id = _token("eos_token"), _token_id("eos_token")
    unk_token, unk_token_id = _token("unk_token"), _token_id("unk_token")
    pad_token, pad_token_id = _token("pad_token"), _token_id("pad_token")
    sep_token, sep_token_id = _token("sep_token"), _token_id("sep_token")
    cls_token, cls_token_id = _token("cls_token"), _token_id("cls_token")
    mask_token, mask_token_id = _token("mask_token"), _token_id("mask_token")
    padding_side = _setting("padding_side", class_defaults.padding_side, "Where rows are padded: left or right.")
    truncation_side = _setting("truncation_side", lambda _: "right", "Where rows are cut: left or right.")
    is_fast = True
    class_name = "PreTrainedTokenizerFast"
    """transformers' class that is written on export: that of tokenizers that are no more than their tokenizer.json."""

    def __init__(self, parts: TokenizerParts) -> None:
        self.backend = parts.backend
        self.special_tokens = dict(parts.special_tokens)
        self.chat_templates = dict(parts.chat_templates)
        self.config = dict(parts.config)
        self.origin = parts.origin
        self._stop_ids = tuple(parts.stop_ids)

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary without added tokens."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        """Size of the vocabulary with added tokens. The model's table may have more rows."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        origin = f" of {self.origin}" if self.origin else ""
        return f"<Tokenizer{origin}: {len(self)} tokens, {self.special_tokens}>"

    @cached_property
    def max_id(self) -> int:
        """The largest id it can give; the model's embedding needs a row for each."""
        return max(self.get_vocab().values(), default=-1)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end what a model says: the eos token, and those that the checkpoint names besides."""
        eos = () if self.eos_token_id is None else (self.eos_token_id,)
        return tuple(dict.fromkeys((*eos, *self._stop_ids)))

    @property
    def all_special_ids(self) -> tuple[int, ...]:
        """Ids of special tokens, which `decode` leaves out."""
        return tuple(i for i, token in sorted(self.backend.get_added_tokens_decoder().items()) if token.special)

    @property
    def all_special_tokens(self) -> tuple[str, ...]:
        """Special tokens, by their ids."""
        tokens = self.backend.get_added_tokens_decoder()
        return tuple(tokens[index].content for index in self.all_special_ids)

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Special tokens by role."""
        return dict(self.special_tokens)

    @property
    def name_or_path(self) -> str:
        """Where it was read from."""
        return self.origin

    @property
    def chat_template(self) -> str | None:
        """The chat template without a name, as Jinja source, or None. Assign another to change it."""
        return self.chat_templates.get("default")

    @chat_template.setter
    def chat_template(self, template: str | None) -> None:
        self.chat_templates.pop("default", None)
        if template is not None:
            self.chat_templates["default"] = template

    @property
    def model_max_length(self) -> int | None:
        """Tokens that the model takes at most according to the tokenizer's files, or None."""
        limit = self.config.get("model_max_length")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < UNLIMITED:
            return None
        return int(limit)

    @property
    def model_input_names(self) -> list[str]:
        """Which arrays a call returns: those that the files list, else those of the class that they name.

        Where they name no class, token types are returned if the model is WordPiece, which was made for segments.
        """
        listed, named = self.config.get("model_input_names"), self.config.get("tokenizer_class")
        if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
            return list(listed)
        segments = type(self.backend.model).__name__ == "WordPiece"
        usual = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
        return class_defaults.input_names(named) or usual

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id, added tokens included."""
        return self.backend.get_vocab(with_added_tokens=True)

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Id of a token or ids of tokens; the unk token's (or None) for what is not in the vocabulary."""
        if isinstance(tokens, str):
            found = self.backend.token_to_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Token of an id or tokens of ids; None for an id that no token has."""
        rows = as_rows(ids)
        return (
            self.backend.id_to_token(rows) if isinstance(rows, int) else [self.convert_ids_to_tokens(i) for i in rows]
        )

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Text of tokens."""
        decoder = self.backend.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))

    def get_added_vocab(self) -> dict[str, int]:
        """Every added token and its id."""
        return {token.content: index for index, token in sorted(self.backend.get_added_tokens_decoder().items())}

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens are put around a text, or a pair of texts."""
        return self.backend.num_special_tokens_to_add(pair)

    def _token_of(self, index: int) -> str:
        token = self.backend.id_to_token(index)
        if token is None:
            raise TokenizerError(f"The vocabulary{self._of_origin} has no id {index}.")
        return token

    def _set_special_token(self, role: str, token: str | None) -> None:
        if token is None:
            self.special_tokens.pop(role, None)
        elif self.backend.token_to_id(token) is None:
            raise TokenizerError(f"{role} = {token!r}: the vocabulary{self._of_origin} has no such token.")
        else:
            self.special_tokens[role] = token

    @property
    def _of_origin(self) -> str:
        return f" of {self.origin}" if self.origin else ""
