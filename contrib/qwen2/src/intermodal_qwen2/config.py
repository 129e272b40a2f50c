"""Qwen2's config: the fields of transformers' Qwen2Config, and the window of each layer."""

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
DEFAULT_CONTEXT = 32768
FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(ModelConfig):
    """Config of Qwen2, Qwen2.5 and of models that share their architecture.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        head_dim: width of one head; absent or null, it is `hidden_size / num_attention_heads`, rounded down.
        num_key_value_heads: heads of keys and values; null is as many as of queries.
        rope: rotary parameters in their normal form, from `rope_parameters`, `rope_scaling` and `rope_theta`.
        pad_token_id: the padding, which sequence classification looks for; -1 and null are none.
        eos_token_id: one id or several that end a text.
        sliding_window: a token sees itself and the `sliding_window - 1` before it; None without `use_sliding_window`.
        max_window_layers: how many layers, from the first, have no window where `layer_types` is absent or null.
        layer_types: `"full_attention"` or `"sliding_attention"` for each layer.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2",)
    checked_against: ClassVar[str] = "5.23.0"
    spelled_keys: ClassVar[tuple[str, ...]] = ROPE_KEYS
    inert_keys: ClassVar[Mapping[str, str]] = {"is_decoder": "the model is a decoder either way"}

    vocab_size: int = fields.size(151936, most=1 << 26)
    hidden_size: int = fields.size(4096, most=1 << 20)
    intermediate_size: int = fields.size(22016, most=1 << 22)
    num_hidden_layers: int = fields.size(32, most=1 << 12)
    num_attention_heads: int = fields.size(32, most=1 << 14)
    num_key_value_heads: int = fields.size(32, most=1 << 14, nullable=True)
    head_dim: int = fields.size(None, most=1 << 16, nullable=True)
    hidden_act: str = fields.choice("silu", {"silu": "silu", "swish": "silu"})
    max_position_embeddings: int = fields.size(DEFAULT_CONTEXT, most=1 << 31)
    rms_norm_eps: float = fields.number(1e-6, least=0.0, most=1.0)
    tie_word_embeddings: bool = fields.flag(False)
    rope: RopeParameters = DEFAULT_ROPE
    pad_token_id: int | None = fields.token_id(None)
    bos_token_id: int | None = fields.token_id(None)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(None)
    use_sliding_window: bool = fields.flag(False)
    sliding_window: int | None = fields.size(4096, most=1 << 31, nullable=True)
    max_window_layers: int = fields.size(28, least=0, most=1 << 12)
    layer_types: tuple[str, ...] | None = fields.choices(None, {FULL: FULL, SLIDING: SLIDING}, nullable=True)

    @property
    def context_length(self) -> int:
        """Tokens that the model was made for, prompt and continuation together."""
        return self.max_position_embeddings

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each layer sees, the current one included; None is all."""
        return tuple(self.sliding_window if kind == SLIDING else None for kind in self.layer_types or ())

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
        if not self.use_sliding_window:
            object.__setattr__(self, "sliding_window", None)
        if self.layer_types is None:
            windowed = self.num_hidden_layers if self.sliding_window is None else self.max_window_layers
            kinds = tuple(SLIDING if number >= windowed else FULL for number in range(self.num_hidden_layers))
            object.__setattr__(self, "layer_types", kinds)

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads, layers = self.num_attention_heads, self.num_hidden_layers
        if heads % self.num_key_value_heads:
            text = f"must divide num_attention_heads = {heads}: each key-value head serves as many query heads"
            yield Problem("num_key_value_heads", self.num_key_value_heads, text)
        if self.head_dim % 2:
            yield Problem("head_dim", self.head_dim, "must be even: rotary embeddings turn pairs of dimensions")
        if self.rope.partial_rotary_factor != 1.0:
            text = "Qwen2 rotates every dimension of a head; only 1.0 is supported"
            yield Problem("partial_rotary_factor", self.rope.partial_rotary_factor, text)
        kinds = self.layer_types or ()
        if len(kinds) != layers:
            yield Problem("layer_types", list(kinds), f"expected one for each of the num_hidden_layers = {layers}")
        if SLIDING in kinds and self.sliding_window is None:
            text = f"a layer of {SLIDING} needs use_sliding_window = true and a sliding_window"
            yield Problem("layer_types", list(kinds), text)
