"""Llama's config: the fields of transformers' LlamaConfig, and what else of a config.json would change the model."""

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
    Rule,
    fields,
    one_of,
    rope_from_hf,
    rope_to_hf,
)

DEFAULT_ROPE = RopeParameters(rope_theta=10000.0)
DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """Config of Llama 1, 2, 3, 3.1, 3.2 (text), 3.3 and of models that share their architecture.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        head_dim: width of one head; absent or null, it is `hidden_size / num_attention_heads`.
        num_key_value_heads: heads of keys and values; absent or null, as many as of queries.
        rope: rotary parameters in their normal form, from `rope_parameters`, `rope_scaling` and `rope_theta`.
        pad_token_id: the padding, which sequence classification looks for; -1 and null are none.
        eos_token_id: one id or several that end a text.
    """

    model_types: ClassVar[tuple[str, ...]] = ("llama",)
    checked_against: ClassVar[str] = "5.23.0"
    spelled_keys: ClassVar[tuple[str, ...]] = ROPE_KEYS
    inert_keys: ClassVar[Mapping[str, str]] = {
        "pretraining_tp": "it computes the same products in slices",
        "is_decoder": "the model is a decoder either way",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        "sliding_window": Rule(
            one_of(None),
            "Llama has no sliding window",
            'Models with one share Mistral\'s architecture: load with family="mistral"',
        ),
    }

    vocab_size: int = fields.size(32000, most=1 << 26)
    hidden_size: int = fields.size(4096, most=1 << 20)
    intermediate_size: int = fields.size(11008, most=1 << 22)
    num_hidden_layers: int = fields.size(32, most=1 << 12)
    num_attention_heads: int = fields.size(32, most=1 << 14)
    num_key_value_heads: int = fields.size(None, most=1 << 14, nullable=True)
    head_dim: int = fields.size(None, most=1 << 16, nullable=True)
    hidden_act: str = fields.choice("silu", {"silu": "silu", "swish": "silu"})
    max_position_embeddings: int = fields.size(DEFAULT_CONTEXT, most=1 << 31)
    rms_norm_eps: float = fields.number(1e-6, least=0.0, most=1.0)
    attention_bias: bool = fields.flag(False)
    mlp_bias: bool = fields.flag(False)
    tie_word_embeddings: bool = fields.flag(False)
    rope: RopeParameters = DEFAULT_ROPE
    pad_token_id: int | None = fields.token_id(None)
    bos_token_id: int | None = fields.token_id(1)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(2)

    @property
    def context_length(self) -> int:
        """Tokens that the model was made for, prompt and continuation together."""
        return self.max_position_embeddings

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModelConfig.read_spellings`."""
        context = values.get("max_position_embeddings", DEFAULT_CONTEXT)
        kinds = rope_from_hf(
            account,
            default_theta=DEFAULT_ROPE.rope_theta,
            max_position_embeddings=DEFAULT_CONTEXT if context is ABSENT else context,
        )
        return {"rope": kinds[FLAT]} if kinds else {}

    def write_spellings(self) -> dict[str, Any]:
        """See `ModelConfig.write_spellings`."""
        return rope_to_hf(self.rope)

    def resolve(self) -> None:
        """See `ModelConfig.resolve`."""
        if self.head_dim is None:
            object.__setattr__(self, "head_dim", max(1, self.hidden_size // self.num_attention_heads))
        if self.num_key_value_heads is None:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads = self.num_attention_heads
        # transformers demands it even where head_dim is given, and an export must load there.
        if self.hidden_size % heads:
            yield Problem("hidden_size", self.hidden_size, f"must be a multiple of num_attention_heads = {heads}")
        if heads % self.num_key_value_heads:
            text = f"must divide num_attention_heads = {heads}: each key-value head serves as many query heads"
            yield Problem("num_key_value_heads", self.num_key_value_heads, text)
        if self.head_dim % 2:
            yield Problem("head_dim", self.head_dim, "must be even: rotary embeddings turn pairs of dimensions")
        if self.rope.partial_rotary_factor != 1.0:
            text = "Llama rotates every dimension of a head; only 1.0 is supported"
            yield Problem("partial_rotary_factor", self.rope.partial_rotary_factor, text)
