"""The vocabulary in a GGUF file's metadata: tokens, their types and scores, and the ids with a role, all checked."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from intermodal.api import TokenizerError


class TokenType(IntEnum):
    """What a token is, in the file's numbers (`tokenizer.ggml.token_type`)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


ROLES = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
    "eot": "eot",
    "eom": "eom",
}
"""Role → how its key is spelled in `tokenizer.ggml.<spelling>_token_id`; the misspelt one is the format's own."""

_NO_TOKEN = 0xFFFFFFFF  # −1, written into an unsigned key


@dataclass(frozen=True)
class Vocab:
    """A checked vocabulary.

    Attributes:
        tokens: as the file spells them; unique, none empty.
        types: a `TokenType` for each, or None where the file has none.
        roles: `"bos"`, `"eos"`, `"unk"`, … → id, as far as the file or its kind of tokenizer names one.
        metadata: all keys of the file.
        origin: what messages name.
    """

    tokens: list[str]
    types: list[int] | None
    roles: dict[str, int]
    metadata: Mapping[str, Any]
    origin: str

    def fail(self, problem: str) -> TokenizerError:
        """An error that names the file and the way out."""
        return TokenizerError(
            f"{self.origin}: {problem}. Load the original model's repository instead, or convert it again with a "
            "current llama.cpp."
        )

    def of_type(self, *types: TokenType) -> list[int]:
        """Ids of the tokens of these types; none where the file has no types."""
        wanted = frozenset(map(int, types))
        return [index for index, kind in enumerate(self.types or ()) if kind in wanted]

    def array(self, name: str, kind: type | tuple[type, ...]) -> list[Any] | None:
        """`tokenizer.ggml.<name>`, a list whose elements are of `kind`, or None where it is absent."""
        return _array(self.metadata, name, kind, self.origin)

    def flag(self, name: str, default: bool) -> bool:
        """`tokenizer.ggml.<name>`, true or false."""
        value = self.metadata.get(f"tokenizer.ggml.{name}", default)
        if not isinstance(value, bool):
            raise self.fail(f"tokenizer.ggml.{name} is {value!r}, expected true or false")
        return value


def read_vocab(metadata: Mapping[str, Any], defaults: Mapping[str, int], origin: str) -> Vocab:
    """Read and check the vocabulary.

    Args:
        metadata: all keys of the file.
        defaults: role → id where no key names one, as llama.cpp has it for the kind of tokenizer.
        origin: what messages name.

    Raises:
        TokenizerError: no tokens, duplicates, or lists whose lengths or types do not fit.
    """
    tokens = _array(metadata, "tokens", str, origin)
    if not tokens:
        raise TokenizerError(f"{origin}: the key tokenizer.ggml.tokens is missing or empty; load the original model.")
    # llama.cpp's own name for an empty token; no text can be cut into it.
    tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        seen: set[str] = set()
        twice = next(token for token in tokens if token in seen or seen.add(token))
        raise TokenizerError(
            f"{origin}: the token {twice!r} is in tokenizer.ggml.tokens twice; convert the model again."
        )
    types = _array(metadata, "token_type", int, origin)
    if types is not None and len(types) != len(tokens):
        raise TokenizerError(f"{origin}: there are {len(tokens):,} tokens and {len(types):,} token types.")
    roles = {role: index for role, index in defaults.items() if index < len(tokens)}
    for role, spelling in ROLES.items():
        key = f"tokenizer.ggml.{spelling}_token_id"
        index = metadata.get(key)
        if index is None or index in (_NO_TOKEN, -1):
            continue
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(tokens):
            warnings.warn(f"{origin}: {key} is {index!r}, and no token has this id; it is ignored.", stacklevel=2)
            continue
        roles[role] = index
    return Vocab(tokens, types, roles, metadata, origin)


def _array(metadata: Mapping[str, Any], name: str, kind: type | tuple[type, ...], origin: str) -> list[Any] | None:
    values = metadata.get(f"tokenizer.ggml.{name}")
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise TokenizerError(f"{origin}: tokenizer.ggml.{name} is not a list of the kind expected; it is damaged.")
    return values
