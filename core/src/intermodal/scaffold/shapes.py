"""What the sizes of tensors are in terms of a config: `config.num_attention_heads * config.head_dim`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEADS = "config.num_attention_heads * config.head_dim"
KEYS = "config.num_key_value_heads * config.head_dim"
ALL_HEADS = "(config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim"
LOCALS = {
    "config.hidden_size": "hidden",
    "config.intermediate_size": "feed_forward",
    HEADS: "queries",
    KEYS: "keys",
}
"""Names that a generated weight map gives to what it says often."""

LABELS = "config.num_labels"
"""It is known by the head that it belongs to, never by its value."""

_SIZE = re.compile(r".*(size|dim|rank|embd|d_model|d_ff|ffn|inner|position|vocab|channels|labels).*")

PROBE = {
    "vocab_size": 1009,
    "hidden_size": 222,
    "intermediate_size": 331,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 22,
    "max_position_embeddings": 613,
    "type_vocab_size": 7,
}
"""Values that no two expressions share, with which a model's own weight map is asked what its sizes are."""


@dataclass(frozen=True)
class Sizes:
    """The expressions over one config and their values.

    Attributes:
        values: expression → value, of what a tensor's size may be.
        layers: field → value, of what may say how often a block is repeated.
    """

    values: Mapping[str, int]
    layers: Mapping[str, int]

    def named(self, number: int) -> list[str]:
        """Every expression of that value."""
        return [text for text, value in self.values.items() if value == number]

    def unambiguous(self, number: int, hint: str | None = None) -> str | None:
        """The one expression of that value, or the one of several that `hint`, another source, agrees with."""
        found = self.named(number)
        if hint in (*found, LABELS):
            return hint
        return found[0] if len(found) == 1 else None


def sizes_of(raw: Mapping[str, Any]) -> Sizes:
    """The expressions that a config.json gives values to."""
    numbers = {name: value for name, value in raw.items() if type(value) is int and value > 0 and name.isidentifier()}
    hidden, heads = numbers.get("hidden_size"), numbers.get("num_attention_heads")
    if "head_dim" not in numbers and hidden and heads:
        numbers["head_dim"] = max(1, hidden // heads)
    if heads:
        numbers.setdefault("num_key_value_heads", heads)
    values = {f"config.{name}": value for name, value in numbers.items() if value > 1 and _SIZE.fullmatch(name)}
    values.pop("config.head_dim", None)
    if heads:
        width, key_heads = numbers.get("head_dim", 1), numbers["num_key_value_heads"]
        values["config.head_dim"] = width
        values[HEADS] = heads * width
        values[KEYS] = key_heads * width
        values[ALL_HEADS] = (heads + 2 * key_heads) * width
    for factor, field in ((3, "hidden_size"), (4, "hidden_size"), (2, "intermediate_size")):
        if field in numbers:
            values[f"{factor} * config.{field}"] = factor * numbers[field]
    return Sizes(values, {name: value for name, value in numbers.items() if "layer" in name or "block" in name})
