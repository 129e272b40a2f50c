"""BERT's config: the fields of transformers' BertConfig, and what else of a config.json would change the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from intermodal.api import ModelConfig, Problem, Rule, fields, one_of

POOLER_KEYS = (
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
)
"""Google wrote them into some published configs; no code reads them."""


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """Config of BERT and of models that share its architecture (MiniLM, BGE, E5, SciBERT, …).

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        hidden_act: the feed-forward's activation, and that of the masked LM head. `gelu` is the exact form.
        max_position_embeddings: rows of the position table, and so the longest sequence.
        type_vocab_size: rows of the token type table.
        layer_norm_eps: what norms add to the variance; they compute in float32, where 1e-12 does not vanish.
        tie_word_embeddings: whether the masked LM head multiplies by the word embeddings.
    """

    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    checked_against: ClassVar[str] = "5.23.0"
    rules: ClassVar[Mapping[str, Rule]] = {
        "position_embedding_type": Rule(
            one_of(None, "absolute"),
            "positions then enter attention by their distance, which transformers 5 no longer reads either",
            "Only absolute positions are supported",
        ),
        "is_causal": Rule(
            one_of(None, False),
            "tokens of texts without padding then see only those before them",
            "This family looks both ways",
        ),
    }
    inert_keys: ClassVar[Mapping[str, str]] = {
        "directionality": "it notes that attention looks both ways",
        "embedding_size": "only widths that are refused here need it",
        **dict.fromkeys(POOLER_KEYS, "the pooler is one dense layer on the first token"),
    }

    vocab_size: int = fields.size(30522, most=1 << 26)
    hidden_size: int = fields.size(768, most=1 << 20)
    num_hidden_layers: int = fields.size(12, most=1 << 12)
    num_attention_heads: int = fields.size(12, most=1 << 14)
    intermediate_size: int = fields.size(3072, most=1 << 22)
    hidden_act: str = fields.activation("gelu")
    max_position_embeddings: int = fields.size(512, most=1 << 24)
    type_vocab_size: int = fields.size(2, most=1 << 20)
    layer_norm_eps: float = fields.number(1e-12, least=0.0, most=1.0)
    tie_word_embeddings: bool = fields.flag(True)
    pad_token_id: int | None = fields.token_id(0)
    bos_token_id: int | None = fields.token_id(None)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(None)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def context_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_position_embeddings

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads = self.num_attention_heads
        if self.hidden_size % heads:
            yield Problem("hidden_size", self.hidden_size, f"must be a multiple of num_attention_heads = {heads}")
