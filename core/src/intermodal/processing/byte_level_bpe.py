"""Building a tokenizer from vocab.json and merges.txt, byte-level BPE, where there is no tokenizer.json."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROLES = {role: "<|endoftext|>" for role in ("unk_token", "bos_token", "eos_token")}
CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast")


def build_byte_level_bpe(
    vocabulary: Mapping[str, Any], merges: str, config: Mapping[str, Any], origin: str
) -> tuple[Tokenizer, dict[str, str]]:
    """A backend that splits text as GPT-2's does, and the special tokens by role.

    The two files do not say how text is split before merging. GPT-2 invented them and is meant where
    tokenizer_config.json names no class, which a warning says; other classes split otherwise and are refused.

    Raises:
        TokenizerError: the class is another, or the files are malformed.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    named = config.get("tokenizer_class")
    if named is not None and named not in CLASSES:
        raise TokenizerError(
            f"{origin} belongs to a {named}, whose way of splitting text is not in these files. Supply the "
            f"tokenizer.json: AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers writes it."
        )
    if named is None:
        warnings.warn(f"{origin}: nothing says how text is split before merging; GPT-2's way is used.", stacklevel=3)
    if not all(isinstance(token, str) and type(index) is int for token, index in vocabulary.items()):
        raise TokenizerError(f"{origin}: vocab.json maps tokens to ids.")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise TokenizerError(f"{origin}: the {len(vocabulary)} ids of vocab.json are not 0 to {len(vocabulary) - 1}.")
    lacking = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter not in vocabulary]
    if lacking:
        raise TokenizerError(f"{origin}: vocab.json lacks {len(lacking)} of the 256 bytes: it is not byte-level BPE.")
    with guarded(origin):
        backend = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=_merges(merges, origin)))
        prefix = bool(config.get("add_prefix_space", False))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        backend.decoder = decoders.ByteLevel()
    return backend, {role: token for role, token in ROLES.items() if token in vocabulary}


def _merges(text: str, origin: str) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.startswith("#version"):
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"{origin}: line {number} of merges.txt is no pair of tokens.")
        merges.append((left, right))
    return merges
