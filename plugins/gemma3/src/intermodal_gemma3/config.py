"""Gemma 3's text config: the fields of transformers' Gemma3TextConfig, the kind of each layer, and two rotary bases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from intermodal.api import (
    ABSENT,
    ROPE_KEYS,
    Account,
    ModelConfig,
    Problem,
    RopeParameters,
    Rule,
    fields,
    one_of,
    rope_from_hf,
    rope_parameters_to_hf,
    rope_to_hf,
)

FULL, SLIDING = "full_attention", "sliding_attention"
GLOBAL_ROPE, LOCAL_ROPE = RopeParameters(rope_theta=1e6), RopeParameters(rope_theta=1e4)
DEFAULT_CONTEXT = 131072
DEFAULT_PATTERN = 6
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_pytorch_tanh", "gelu_new": "gelu_pytorch_tanh", "gelu": "gelu"}
CAP = "final_logit_softcapping"
PATTERN_KEYS = ("layer_types", "sliding_window_pattern", "_sliding_window_pattern")


@dataclass(frozen=True, kw_only=True)
class GemmaTextConfig(ModelConfig):
    """Config of Gemma 3's text model, and of what shares its architecture.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        head_dim: width of one head; it does not follow from `hidden_size` and `num_attention_heads`.
        query_pre_attn_scalar: queries are scaled by its `-0.5`th power, whatever `head_dim` is.
        sliding_window: a sliding layer's token sees itself and the `sliding_window - 1` before it.
        layer_types: `"full_attention"` or `"sliding_attention"` for each layer; from the list itself, or from
            `sliding_window_pattern`: every so many layers, one is full.
        rope: rotary parameters of full layers; `local_rope`: of sliding ones.
        use_bidirectional_attention: tokens also see the ones after them, in sliding layers as far as `reach`.
        pad_token_id: the padding, which sequence classification looks for; -1 and null are none.
        eos_token_id: one id or several that end a text.
    """

    model_types: ClassVar[tuple[str, ...]] = ("gemma3_text",)
    checked_against: ClassVar[str] = "5.23.0"
    spelled_keys: ClassVar[tuple[str, ...]] = (
        *ROPE_KEYS,
        "rope_local_base_freq",
        *PATTERN_KEYS,
        CAP,
    )
    inert_keys: ClassVar[Mapping[str, str]] = {
        "hidden_act": "Gemma 3 reads hidden_activation",
        "is_decoder": "the model is a decoder either way",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        "attn_logit_softcapping": Rule(
            one_of(None),
            "implementations differ in whether they cap attention scores in this family",
            "Drop the key if the model was trained without it",
        ),
    }

    vocab_size: int = fields.size(262208, most=1 << 26)
    hidden_size: int = fields.size(2304, most=1 << 20)
    intermediate_size: int = fields.size(9216, most=1 << 22)
    num_hidden_layers: int = fields.size(26, most=1 << 12)
    num_attention_heads: int = fields.size(8, most=1 << 14)
    num_key_value_heads: int = fields.size(4, most=1 << 14)
    head_dim: int = fields.size(256, most=1 << 16)
    hidden_activation: str = fields.choice("gelu_pytorch_tanh", ACTIVATIONS)
    max_position_embeddings: int = fields.size(DEFAULT_CONTEXT, most=1 << 31)
    rms_norm_eps: float = fields.number(1e-6, least=0.0, most=1.0)
    attention_bias: bool = fields.flag(False)
    sliding_window: int | None = fields.size(4096, most=1 << 31, nullable=True)
    use_bidirectional_attention: bool = fields.flag(False)
    tie_word_embeddings: bool = fields.flag(True)
    query_pre_attn_scalar: int = fields.size(256, most=1 << 30)
    final_logit_softcapping: float | None = None
    layer_types: tuple[str, ...] = ()
    rope: RopeParameters = GLOBAL_ROPE
    local_rope: RopeParameters = LOCAL_ROPE
    pad_token_id: int | None = fields.token_id(0)
    bos_token_id: int | None = fields.token_id(2)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(1)

    @property
    def context_length(self) -> int:
        """Tokens that the model was made for, prompt and continuation together."""
        return self.max_position_embeddings

    @property
    def reach(self) -> int | None:
        """Tokens a sliding layer sees to one side, the current one included; a window that looks both ways is halved.

        The halving is transformers' own (`sliding_window // 2 + 1`); config.json keeps the whole width.
        """
        if self.sliding_window is None or not self.use_bidirectional_attention:
            return self.sliding_window
        return self.sliding_window // 2 + 1

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModelConfig.read_spellings`."""
        found: dict[str, Any] = {}
        if CAP in account.raw:
            found[CAP] = account.read(fields.real(above=0.0, most=1e9).or_null(), CAP, account.take(CAP))
        context = values.get("max_position_embeddings", DEFAULT_CONTEXT)
        kinds = rope_from_hf(
            account,
            default_theta=GLOBAL_ROPE.rope_theta,
            max_position_embeddings=DEFAULT_CONTEXT if context is ABSENT else context,
            layer_kinds=(FULL, SLIDING),
            own_theta={SLIDING: ("rope_local_base_freq", LOCAL_ROPE.rope_theta)},
        )
        if kinds:
            found |= {"rope": kinds[FULL], "local_rope": kinds[SLIDING]}
        layers = values.get("num_hidden_layers", cls.num_hidden_layers)
        return found | {"layer_types": layer_types(account, 1 if layers is ABSENT else layers)}

    def write_spellings(self) -> dict[str, Any]:
        """See `ModelConfig.write_spellings`. Older spellings stand beside where they can say the same."""
        content: dict[str, Any] = {
            CAP: self.final_logit_softcapping,
            "layer_types": list(self.layer_types),
        }
        layers = self.num_hidden_layers
        for pattern in (DEFAULT_PATTERN, *range(1, layers + 2)):
            if self.layer_types == by_pattern(layers, pattern):
                content["sliding_window_pattern"] = pattern
                break
        if self.local_rope == RopeParameters(rope_theta=self.local_rope.rope_theta):
            content |= {**rope_to_hf(self.rope), "rope_local_base_freq": self.local_rope.rope_theta}
        return content | {
            "rope_parameters": {
                FULL: rope_parameters_to_hf(self.rope),
                SLIDING: rope_parameters_to_hf(self.local_rope),
            }
        }

    def resolve(self) -> None:
        """See `ModelConfig.resolve`."""
        if not self.layer_types:
            object.__setattr__(self, "layer_types", by_pattern(self.num_hidden_layers, DEFAULT_PATTERN))

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads, layers = self.num_attention_heads, self.num_hidden_layers
        # transformers demands it though head_dim is given, and an export must load there.
        if self.hidden_size % heads:
            yield Problem("hidden_size", self.hidden_size, f"must be a multiple of num_attention_heads = {heads}")
        if heads % self.num_key_value_heads:
            text = f"must divide num_attention_heads = {heads}: each key-value head serves as many query heads"
            yield Problem("num_key_value_heads", self.num_key_value_heads, text)
        if self.head_dim % 2:
            yield Problem("head_dim", self.head_dim, "must be even: rotary embeddings turn pairs of dimensions")
        for rope in (self.rope, self.local_rope):
            if rope.partial_rotary_factor != 1.0:
                text = "Gemma 3 rotates every dimension of a head; only 1.0 is supported"
                yield Problem("partial_rotary_factor", rope.partial_rotary_factor, text)
        if len(self.layer_types) != layers or not set(self.layer_types) <= {FULL, SLIDING}:
            text = f"expected one of {FULL} and {SLIDING} for each of the num_hidden_layers = {layers} layers"
            yield Problem("layer_types", list(self.layer_types), text)
        elif SLIDING in self.layer_types and self.sliding_window is None:
            yield Problem("sliding_window", None, f"null is no window, and layer_types has layers of {SLIDING}")


def by_pattern(layers: int, pattern: int) -> tuple[str, ...]:
    """Kinds of layers where every `pattern`th is full."""
    return tuple(SLIDING if (number + 1) % pattern else FULL for number in range(layers))


def layer_types(account: Account, layers: int) -> tuple[str, ...]:
    """The kind of each layer, from the list or else from the pattern. A problem is noted."""
    listed, pattern = account.take("layer_types"), account.take("sliding_window_pattern", DEFAULT_PATTERN)
    later = account.take("_sliding_window_pattern", pattern)
    if listed is not None:
        if not isinstance(listed, list) or not all(isinstance(kind, str) for kind in listed):
            account.refuse("layer_types", listed, f"expected a list of {FULL} and {SLIDING}, or null")
            return ()
        return tuple(listed)
    if later != pattern:
        # transformers writes this one beside layer_types only, and reads it nowhere.
        text = "the kinds of layers are not clear from this key; write sliding_window_pattern or layer_types"
        account.refuse("_sliding_window_pattern", later, text)
    pattern = account.read(fields.integer(1, 1 << 31), "sliding_window_pattern", pattern)
    return () if pattern is ABSENT else by_pattern(layers, pattern)
