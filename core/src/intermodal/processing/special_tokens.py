"""Which tokens are special, from the several files that say so, and telling a backend about them.

tokenizer.json has the vocabulary and decides. What tokenizer_config.json (or, for older checkpoints,
special_tokens_map.json and added_tokens.json) declares besides is added at the end, and tokens with a role become
special, as transformers does it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MAX_TOKENS = 1 << 20
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


@dataclass
class Declared:
    """What the files declare.

    Attributes:
        roles: role -> token, standard roles first.
        extra: special tokens without a role.
        added: id -> token, from added_tokens_decoder or added_tokens.json.
    """

    roles: dict[str, AddedToken] = field(default_factory=dict)
    extra: list[AddedToken] = field(default_factory=list)
    added: dict[int, AddedToken] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """Role -> token, as strings."""
        return {role: token.content for role, token in self.roles.items()}

    def name(self, roles: Mapping[str, str]) -> None:
        """Give roles the tokens that the format itself has for them, unless the files declare others."""
        for role, token in roles.items():
            self.roles.setdefault(role, _token(token, role, special=True))


def read_declared(
    config: Mapping[str, Any], special_tokens_map: Mapping[str, Any], added_tokens: Mapping[str, Any], origin: str
) -> Declared:
    """Collect what the files declare.

    Args:
        config: tokenizer_config.json.
        special_tokens_map: special_tokens_map.json; it goes before `config` where that has no added_tokens_decoder.
        added_tokens: added_tokens.json, token -> id; likewise.
        origin: for messages.

    Raises:
        TokenizerError: a declaration is malformed.
    """
    decoder = config.get("added_tokens_decoder")
    values = dict(config) if decoder is not None else {**config, **special_tokens_map}
    extra = values.get("extra_special_tokens") or values.get("additional_special_tokens") or []
    roles = {role: values[role] for role in ROLES if values.get(role) is not None}
    roles |= {
        key: value
        for key, value in values.items()
        if key.endswith("_token") and key not in ROLES and isinstance(value, str | dict)
    }
    if isinstance(extra, Mapping):
        roles, extra = {**roles, **extra}, []
    if not isinstance(extra, list):
        raise TokenizerError(f"extra_special_tokens of {origin}: expected a list or an object.")
    if not isinstance(decoder, Mapping | None):
        raise TokenizerError(f"added_tokens_decoder of {origin}: expected an object.")
    declared = Declared(
        roles={role: _token(value, f"{role} of {origin}", special=True) for role, value in roles.items()},
        extra=[_token(value, f"extra_special_tokens of {origin}", special=True) for value in extra],
    )
    if decoder is not None:
        entries = {key: _token(value, f"added_tokens_decoder[{key!r}] of {origin}") for key, value in decoder.items()}
    else:
        special = {token.content for token in (*declared.roles.values(), *declared.extra)}
        added = {str(index): content for content, index in added_tokens.items()}
        entries = {
            key: _token(value, f"added_tokens of {origin}", special=value in special) for key, value in added.items()
        }
    if not all(key.isdecimal() for key in entries) or len(entries) > MAX_TOKENS:
        raise TokenizerError(f"added tokens of {origin}: expected at most {MAX_TOKENS} ids, each a number.")
    declared.added = {int(key): token for key, token in sorted(entries.items(), key=lambda entry: int(entry[0]))}
    return declared


def _token(value: Any, where: str, special: bool = False) -> AddedToken:
    from tokenizers import AddedToken

    if isinstance(value, str):
        return AddedToken(value, special=special, normalized=not special)
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
        raise TokenizerError(f'{where}: expected a string or an object with "content".')
    flags = {name: value[name] for name in _FLAGS if name in value}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise TokenizerError(f"{where}: {', '.join(flags)} are true or false.")
    return AddedToken(value["content"], **{**flags, "special": special or flags.get("special", False)})


def add_declared(backend: Tokenizer, declared: Declared, origin: str) -> None:
    """Add declared tokens that the backend lacks, and make those with a role special.

    Raises:
        TokenizerError: a token would get another id than its declaration says.
    """
    present = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    for index, token in declared.added.items():
        known = backend.token_to_id(token.content)
        if token.content in present:
            if known != index:
                warnings.warn(
                    f"{origin}: tokenizer.json has {token.content!r} at {known}, added_tokens_decoder at {index}; "
                    "tokenizer.json decides.",
                    stacklevel=2,
                )
            continue
        _add(backend, token)
        if backend.token_to_id(token.content) != index:
            raise TokenizerError(
                f"{origin} declares the added token {token.content!r} with the id {index}, but its vocabulary would "
                f"give it {backend.token_to_id(token.content)}: the files do not belong together."
            )
    for token in (*declared.roles.values(), *declared.extra):
        known = {added.content: added for added in backend.get_added_tokens_decoder().values()}.get(token.content)
        if known is None:
            _add(backend, token)
        elif not known.special:
            known.special = True
            backend.add_special_tokens([known])


def _add(backend: Tokenizer, token: AddedToken) -> None:
    if not token.content:
        return
    if token.special:
        backend.add_special_tokens([token])
    else:
        backend.add_tokens([token])
