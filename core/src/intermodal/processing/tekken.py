"""Building a tokenizer from tekken.json: byte-level BPE kept as ranks, with the special tokens before all others.

The file lists tokens as bytes in the order of their ranks, a regular expression that splits text, and how many ids are
set aside for special tokens: the id of a token is its rank plus that number. It holds no merges.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 1 << 21
MAX_WORK = 1 << 27
"""Sum of the squares of the tokens' lengths in bytes, which recovering merges takes time for; real files have 2**23."""

ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
UNNAMED = "<SPECIAL_{}>"
VERSIONS_WITHOUT_NAMES = ("v1", "v2", "v3", "v7")
NAMES = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
"""What files of these versions do not say: the names of the first special tokens."""


def build_tekken(data: Mapping[str, Any], origin: str) -> tuple[Tokenizer, dict[str, str]]:
    """A backend that gives the ids that the publisher's own library gives, and the special tokens by role.

    It differs where every tokenizer here does: the names of special tokens are recognised in text.

    Args:
        data: tekken.json.
        origin: for messages.

    Raises:
        TokenizerError: the file is malformed, or does not say what is needed.
    """
    config = data.get("config")
    if not isinstance(config, Mapping) or not isinstance(config.get("pattern"), str):
        raise TokenizerError(f"{origin}: expected an object `config` with the `pattern` that splits text.")
    count = _count(config, "default_num_special_tokens", 1, origin)
    total = _count(config, "default_vocab_size", count + 256, origin)
    special = _special_tokens(data.get("special_tokens"), config.get("version"), count, origin)
    tokens = _tokens(data.get("vocab"), total - count, origin)
    spelled = _spelling(tokens)
    vocabulary = {name: index for index, name in enumerate(special)} | {
        text: rank + count for rank, text in enumerate(spelled)
    }
    if len(vocabulary) != total:
        raise TokenizerError(f"{origin}: of its {total} tokens, some are there twice, or are spelled as special ones.")
    merges = [(spelled[left], spelled[right]) for left, right in recovered_merges(tokens)]
    with guarded(origin):
        backend = _backend(vocabulary, merges, config["pattern"])
        backend.add_special_tokens(_added(special))
    return backend, {role: name for role, name in ROLES.items() if name in special}


def recovered_merges(tokens: list[bytes]) -> list[tuple[int, int]]:
    """For each token that merging can reach, in order, the ranks of the two tokens that it is merged from.

    Encoding by ranks merges, again and again, the two neighbours whose bytes together have the lowest rank. Whatever
    stands around them, the bytes of a token go through the same steps then as they do alone; so the last step of
    encoding them alone is the only one that ever makes the token, and a list of these steps in the order of ranks
    encodes every text alike.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    found = []
    for token in tokens:
        if len(token) > 1 and (pair := _last_step(token, ranks)) is not None:
            found.append((ranks[pair[0]], ranks[pair[1]]))
    return found


def _last_step(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    if len(token) == 2:
        return token[:1], token[1:]
    parts = [token[at : at + 1] for at in range(len(token))]
    never = len(ranks)
    joined = [ranks.get(token[at : at + 2], never) for at in range(len(token) - 1)]
    while len(parts) > 2:
        lowest = min(joined)
        if lowest == never:
            return None
        at = joined.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del joined[at]
        if at:
            joined[at - 1] = ranks.get(parts[at - 1] + parts[at], never)
        if at < len(joined):
            joined[at] = ranks.get(parts[at] + parts[at + 1], never)
    return parts[0], parts[1]


def _tokens(vocab: Any, count: int, origin: str) -> list[bytes]:
    """The bytes of the first `count` tokens; files may list more than the model has."""
    if not isinstance(vocab, list) or not count <= len(vocab) <= MAX_TOKENS:
        raise TokenizerError(f"{origin}: expected a list `vocab` of at least {count} tokens, {MAX_TOKENS} at most.")
    try:
        tokens = [base64.b64decode(entry["token_bytes"], validate=True) for entry in vocab[:count]]
        ranked = all(entry["rank"] == index for index, entry in enumerate(vocab[:count]))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise TokenizerError(
            f"{origin}: a token of `vocab` has no rank, or no token_bytes in base64: {error}"
        ) from error
    if not ranked or tokens[:256] != [bytes([value]) for value in range(256)] or not all(tokens):
        raise TokenizerError(f"{origin}: expected tokens in the order of their ranks, the 256 bytes first, none empty.")
    if sum(len(token) ** 2 for token in tokens) > MAX_WORK:
        raise TokenizerError(
            f"{origin}: its tokens are longer than those of any tokenizer, {max(map(len, tokens))} bytes."
        )
    return tokens


def _special_tokens(listed: Any, version: Any, count: int, origin: str) -> list[str]:
    """Names of the special tokens, by id."""
    if listed is None:
        if version not in VERSIONS_WITHOUT_NAMES:
            raise TokenizerError(f"{origin} has version {version!r} and no special_tokens, which that version lists.")
        listed = [{"rank": index, "token_str": name} for index, name in enumerate(NAMES)]
    if not isinstance(listed, list) or len(listed) > count:
        raise TokenizerError(f"{origin}: expected a list of at most {count} special_tokens.")
    names = []
    for index, entry in enumerate(listed):
        name = entry.get("token_str") if isinstance(entry, Mapping) and entry.get("rank") == index else None
        if not isinstance(name, str) or not name:
            raise TokenizerError(f"{origin}: special token {index} has no token_str, or another rank.")
        names.append(name)
    return names + [UNNAMED.format(index) for index in range(len(names), count)]


def _count(config: Mapping[str, Any], key: str, least: int, origin: str) -> int:
    value = config.get(key)
    if type(value) is not int or not least <= value <= MAX_TOKENS:
        raise TokenizerError(f"{origin}: config.{key} is {value!r}, expected an integer from {least} to {MAX_TOKENS}.")
    return value


def _spelling(tokens: Iterable[bytes]) -> list[str]:
    """Tokens as byte-level BPE spells them: a printable character for each byte, itself where Latin-1 has one."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in printable]
    table = {value: chr(value) for value in printable} | {value: chr(256 + n) for n, value in enumerate(others)}
    return [token.decode("latin-1").translate(table) for token in tokens]


def _backend(vocabulary: dict[str, int], merges: list[tuple[str, str]], pattern: str) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    # Encoding by ranks takes a piece of text that is a token as it is, before it merges anything.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _added(names: Iterable[str]) -> list[Any]:
    from tokenizers import AddedToken

    return [AddedToken(name, normalized=False, special=True) for name in names]
