"""Mistral's config: the fields of transformers' MistralConfig and MinistralConfig, and the window of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from intermodal.api import (
    ABSENT,
    FLAT,
    ROPE_KEYS,
    Account,
    ModelConfig,
    Problem,
    RopeParameters,
    fields,
    rope_from_hf,
    rope_to_hf,
)

DEFAULT_ROPE = RopeParameters(rope_theta=10000.0)
DEFAULT_CONTEXT = 4096 * 32
DEFAULT_WINDOW = 4096
FULL, SLIDING = "full_attention", "sliding_attention"
_KINDS = {FULL: FULL, "attention": FULL, SLIDING: SLIDING}
"""Spellings of the kinds of layers; transformers reads "attention" as full attention."""


@dataclass(frozen=True, kw_only=True)
class MistralConfig(ModelConfig):
    """Config of Mistral 7B, Nemo, Small and Large (text), of Ministral 8B, and of what shares their architecture.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        head_dim: width of one head; absent or null, it is `hidden_size / num_attention_heads`, rounded down.
        num_key_value_heads: heads of keys and values; null is as many as of queries.
        sliding_window: a token sees itself and the `sliding_window - 1` before it. Absent is 4096, null is all.
        layer_types: `"full_attention"` or `"sliding_attention"` for each layer where layers differ; None where all
            layers are alike, and `sliding_window` says how.
        rope: rotary parameters in their normal form, from `rope_parameters`, `rope_scaling` and `rope_theta`.
        pad_token_id: the padding, which sequence classification looks for; -1 and null are none.
        eos_token_id: one id or several that end a text.
    """

    model_types: ClassVar[tuple[str, ...]] = ("mistral", "ministral")
    checked_against: ClassVar[str] = "5.23.0"
    spelled_keys: ClassVar[tuple[str, ...]] = (*ROPE_KEYS, "layer_types")
    inert_keys: ClassVar[Mapping[str, str]] = {"is_decoder": "the model is a decoder either way"}

    vocab_size: int = fields.size(32000, most=1 << 26)
    hidden_size: int = fields.size(4096, most=1 << 20)
    intermediate_size: int = fields.size(14336, most=1 << 22)
    num_hidden_layers: int = fields.size(32, most=1 << 12)
    num_attention_heads: int = fields.size(32, most=1 << 14)
    num_key_value_heads: int = fields.size(8, most=1 << 14, nullable=True)
    head_dim: int = fields.size(None, most=1 << 16, nullable=True)
    hidden_act: str = fields.choice("silu", {"silu": "silu", "swish": "silu"})
    max_position_embeddings: int = fields.size(DEFAULT_CONTEXT, most=1 << 31)
    rms_norm_eps: float = fields.number(1e-6, least=0.0, most=1.0)
    tie_word_embeddings: bool = fields.flag(False)
    sliding_window: int | None = fields.size(DEFAULT_WINDOW, most=1 << 31, nullable=True)
    layer_types: tuple[str, ...] | None = None
    rope: RopeParameters = DEFAULT_ROPE
    pad_token_id: int | None = fields.token_id(None)
    bos_token_id: int | None = fields.token_id(1)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(2)

    @property
    def context_length(self) -> int:
        """Tokens that the model was made for, prompt and continuation together."""
        return self.max_position_embeddings

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each layer sees, the current one included; None is all."""
        kinds = self.layer_types or (SLIDING,) * self.num_hidden_layers
        return tuple(self.sliding_window if kind == SLIDING else None for kind in kinds)

    @property
    def as_ministral(self) -> bool:
        """Whether an export is for transformers' Ministral: where layers differ, or where it was read as one."""
        return self.layer_types is not None or self.raw.get("model_type") == "ministral"

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModelConfig.read_spellings`."""
        context = values.get("max_position_embeddings", DEFAULT_CONTEXT)
        kinds = rope_from_hf(
            account,
            default_theta=DEFAULT_ROPE.rope_theta,
            max_position_embeddings=DEFAULT_CONTEXT if context is ABSENT else context,
        )
        return {"layer_types": _layer_types(account), **({"rope": kinds[FLAT]} if kinds else {})}

    def write_spellings(self) -> dict[str, Any]:
        """See `ModelConfig.write_spellings`.

        transformers has two classes for this one architecture: its Mistral takes no notice of `layer_types`. Its
        Ministral derives no `head_dim`, and both refuse a null for the key-value heads, so these are always written.
        """
        content = {
            **rope_to_hf(self.rope),
            "sliding_window": self.sliding_window,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
        }
        if self.as_ministral:
            kinds = [FULL if window is None else SLIDING for window in self.windows]
            content |= {"model_type": "ministral", "layer_types": kinds}
        return content

    def resolve(self) -> None:
        """See `ModelConfig.resolve`. Layers that are listed but all alike are brought to the form without a list."""
        if self.head_dim is None:
            object.__setattr__(self, "head_dim", max(1, self.hidden_size // self.num_attention_heads))
        if self.num_key_value_heads is None:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.layer_types is None or next(self._layer_problems(), None) is not None:
            return
        if SLIDING not in self.layer_types:
            object.__setattr__(self, "sliding_window", None)
        if len(set(self.layer_types)) == 1:
            object.__setattr__(self, "layer_types", None)

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads = self.num_attention_heads
        if heads % self.num_key_value_heads:
            text = f"must divide num_attention_heads = {heads}: each key-value head serves as many query heads"
            yield Problem("num_key_value_heads", self.num_key_value_heads, text)
        if self.head_dim % 2:
            yield Problem("head_dim", self.head_dim, "must be even: rotary embeddings turn pairs of dimensions")
        if self.rope.partial_rotary_factor != 1.0:
            text = "Mistral rotates every dimension of a head; only 1.0 is supported"
            yield Problem("partial_rotary_factor", self.rope.partial_rotary_factor, text)
        yield from self._layer_problems()

    def _layer_problems(self) -> Iterator[Problem]:
        if self.layer_types is None:
            return
        layers = self.num_hidden_layers
        if len(self.layer_types) != layers or not set(self.layer_types) <= {FULL, SLIDING}:
            text = f"expected one of {FULL} and {SLIDING} for each of the num_hidden_layers = {layers} layers"
            yield Problem("layer_types", list(self.layer_types), text)
        elif SLIDING in self.layer_types and self.sliding_window is None:
            text = f"null is no window, and layer_types has layers of {SLIDING}"
            yield Problem("sliding_window", None, text)


def _layer_types(account: Account) -> tuple[str, ...] | None:
    """`layer_types` as a tuple of the two kinds; None where it is absent or null. A problem is noted."""
    value = account.take("layer_types")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(kind, str) for kind in value):
        account.refuse("layer_types", value, f"expected a list of {FULL} and {SLIDING}, or null")
        return None
    return tuple(_KINDS.get(str(kind), str(kind)) for kind in value)
