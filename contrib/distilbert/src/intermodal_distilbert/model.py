"""DistilBERT's forward pass: post-norm blocks of attention to both sides and a feed-forward (arXiv:1910.01108)."""

from __future__ import annotations

from typing import Any

from intermodal.api import Backbone, Step, Tree, kernels

from intermodal_distilbert.config import DistilBertConfig
from intermodal_distilbert.weights import (
    CLASSIFIER,
    POSITIONS,
    PRE_CLASSIFIER,
    PROJECTOR,
    TRANSFORM,
    TRANSFORM_NORM,
    WORDS,
)

Tensor = Any

EPSILON = 1e-12
"""What norms add to the variance; transformers has it in code, not in the config."""


class DistilBertBackbone(Backbone):
    """Hidden states of DistilBERT. It has no token types and no pooler."""

    config: DistilBertConfig
    reads_packed = True

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`. Returns `last_hidden_state` (B, T, dim).

        Raises:
            InputError: the sequence is longer than the table of positions.
        """
        config = self.config
        self.check_length(step, config.max_position_embeddings)
        x = kernels.embedding(step.token_ids, w[WORDS], self.compute_dtype)
        x = x + kernels.embedding(step.positions, w[POSITIONS], self.compute_dtype)
        x = kernels.layer_norm(x, w["embeddings.LayerNorm"], EPSILON)
        mask = step.mask(causal=False)
        for number, block in enumerate(w["transformer.layer"]):
            x = kernels.layer_norm(attention(block, x, step, number, mask, config), block["sa_layer_norm"], EPSILON)
            x = kernels.layer_norm(feed_forward(block, x, config), block["output_layer_norm"], EPSILON)
        return {"last_hidden_state": x}

    def tables(self) -> dict[str, int]:
        """See `Backbone.tables`."""
        return {"input_ids": self.config.vocab_size, "position_ids": self.config.max_position_embeddings}

    def class_logits(self, w: Tree, step: Step, outputs: dict[str, Tensor]) -> Tensor:
        """See `Backbone.class_logits`. Two linears on the first token, with max(x, 0) in between."""
        head = w["head"]
        first = step.first_of_each(outputs["last_hidden_state"])
        pooled = kernels.linear(first, head[PRE_CLASSIFIER], activation="relu")
        return kernels.linear(pooled, head[CLASSIFIER])

    def token_logits(self, w: Tree, hidden: Tensor) -> Tensor:
        """See `Backbone.token_logits`."""
        head = w["head"]
        x = kernels.linear(hidden, head[TRANSFORM], activation=self.config.activation)
        x = kernels.layer_norm(x, head[TRANSFORM_NORM], EPSILON)
        if self.config.tie_word_embeddings:
            return kernels.linear(x, w[WORDS]._replace(bias=head[PROJECTOR].bias))
        return kernels.linear(x, head[PROJECTOR])


def attention(w: Tree, x: Tensor, step: Step, number: int, mask: Any, config: DistilBertConfig) -> Tensor:
    """x plus attention of every token to every token. x (B, T, dim), and so the result."""
    q, k, v = kernels.linears(x, *(w[f"attention.{name}"] for name in ("q_lin", "k_lin", "v_lin")))
    y = step.attend_heads(number, q, k, v, width=config.head_dim, mask=mask, scale=config.head_dim**-0.5)
    return kernels.linear(y, w["attention.out_lin"], residual=x)


def feed_forward(w: Tree, x: Tensor, config: DistilBertConfig) -> Tensor:
    """x plus two linears with an activation in between. x (B, T, dim), and so the result."""
    inner = kernels.linear(x, w["ffn.lin1"], activation=config.activation)
    return kernels.linear(inner, w["ffn.lin2"], residual=x)
