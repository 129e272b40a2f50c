"""What a tokenizer class of transformers settles where the files are silent: a reviewed table, tokenizer_classes.toml.

The class says nothing of how text becomes ids here; that is in the tokenizer's own files.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers that are nothing more than their tokenizer.json."""

CTC_CLASS = "Wav2Vec2CTCTokenizer"
"""transformers' class of tokenizers with a vocab.json of letters, whatever model they belong to."""


def padding_side(named: object) -> str:
    """Where a class pads: `"left"` or `"right"`."""
    return "left" if _plain(named) in _table()["padding_side"]["left"] else "right"


def input_names(named: object) -> list[str] | None:
    """Which arrays a class returns, in its order; None where no class is named."""
    if not isinstance(named, str):
        return None
    name, types, mask = _plain(named), _table()["token_type_ids"], _table()["attention_mask"]
    names = ["input_ids", *(["token_type_ids"] if name in types["first"] else [])]
    names += [] if name in mask["none"] else ["attention_mask"]
    return [*names, *(["token_type_ids"] if name in types["last"] else [])]


def _plain(named: object) -> str:
    return named.removesuffix("Fast") if isinstance(named, str) else ""


@functools.cache
def _table() -> Mapping[str, Mapping[str, list[str]]]:
    import tomllib

    return tomllib.loads(resources.files("intermodal").joinpath("tokenizer_classes.toml").read_text(encoding="utf-8"))
