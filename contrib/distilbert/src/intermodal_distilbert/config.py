"""DistilBERT's config: the fields of transformers' DistilBertConfig, and what else would change the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from intermodal.api import ModelConfig, Problem, Rule, fields, one_of

_TRAINING = "it acts in training only"


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(ModelConfig):
    """Config of DistilBERT.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        dim: width of hidden states. `hidden_dim`: the feed-forward's.
        activation: the feed-forward's, and that of the masked LM head. `gelu` is the exact form.
        max_position_embeddings: rows of the position table, and so the longest sequence.
        tie_word_embeddings: whether the masked LM head multiplies by the word embeddings.
    """

    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    checked_against: ClassVar[str] = "5.23.0"
    other_names: ClassVar[Mapping[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }
    inert_keys: ClassVar[Mapping[str, str]] = {
        "sinusoidal_pos_embds": "the positions are read from the checkpoint, whatever made them",
        "qa_dropout": _TRAINING,
        "seq_classif_dropout": _TRAINING,
        "output_past": "there is no past in an encoder",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        "is_causal": Rule(one_of(None, False), "tokens then see only those before them", "This family looks both ways"),
    }

    vocab_size: int = fields.size(30522, most=1 << 26)
    dim: int = fields.size(768, most=1 << 20)
    n_layers: int = fields.size(6, most=1 << 12)
    n_heads: int = fields.size(12, most=1 << 14)
    hidden_dim: int = fields.size(4 * 768, most=1 << 22)
    activation: str = fields.activation("gelu")
    max_position_embeddings: int = fields.size(512, most=1 << 24)
    tie_word_embeddings: bool = fields.flag(True)
    pad_token_id: int | None = fields.token_id(0)
    bos_token_id: int | None = fields.token_id(None)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(None)

    @property
    def hidden_size(self) -> int:
        """Width of hidden states."""
        return self.dim

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.n_heads

    @property
    def context_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_position_embeddings

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        if self.dim % self.n_heads:
            yield Problem("dim", self.dim, f"must be a multiple of n_heads = {self.n_heads}")
