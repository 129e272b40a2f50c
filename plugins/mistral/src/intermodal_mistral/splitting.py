"""Recognising tokenizer.json files of Mistral that split text otherwise than the models were trained with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.api import Tokenizer

TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of the tekken.json files that mistral-common has, and of transformers' `fix_mistral_regex`."""

_UNNAMED = "<SPECIAL_100>"
"""A token that only vocabularies of the tekken kind have: a thousand ids are set aside in them."""


def complaint(tokenizer: Tokenizer) -> str | None:
    """What is wrong with how a tokenizer splits text, for a warning; None where nothing is."""
    if tokenizer.backend.token_to_id(_UNNAMED) is None or TEKKEN in _patterns(tokenizer.backend.pre_tokenizer):
        return None
    return (
        f"The tokenizer.json of {tokenizer.origin} has the vocabulary of Mistral's tekken tokenizer, but splits text "
        "by another pattern than that one does, so some texts get other ids than the model was trained with. Published "
        "files are known to have this fault. Where a tekken.json lies beside it, a copy of the folder without "
        "tokenizer.json reads that instead."
    )


def _patterns(pre_tokenizer: Any) -> list[str]:
    """The regular expressions of a pre-tokenizer, in order."""
    if pre_tokenizer is None:
        return []
    content = json.loads(pre_tokenizer.__getstate__())
    steps = content.get("pretokenizers", [content])
    return [step["pattern"]["Regex"] for step in steps if "Regex" in (step.get("pattern") or {})]
