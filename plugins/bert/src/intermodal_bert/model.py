"""BERT's forward pass: post-norm blocks of attention to both sides and a feed-forward (arXiv:1810.04805)."""

from __future__ import annotations

from typing import Any

from intermodal.api import Backbone, Step, Tree, kernels

from intermodal_bert.config import BertConfig
from intermodal_bert.weights import BIAS, DECODER, NEXT_SENTENCE, POOLER, TRANSFORM, WORDS

Tensor = Any


class BertBackbone(Backbone):
    """Hidden states of BERT, and the pooled first token where the checkpoint has a pooler."""

    config: BertConfig
    reads = (*Backbone.reads, "token_type_ids")
    reads_packed = True

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`.

        `step.inputs["token_type_ids"]` (B, T) says which of two texts a token is of; zeros where it is absent.

        Returns:
            `last_hidden_state` (B, T, hidden), and `pooler_output` (B, hidden) where there is a pooler.

        Raises:
            InputError: the sequence is longer than the table of positions.
        """
        config = self.config
        self.check_length(step, config.max_position_embeddings)
        x = self._embed(w, step)
        mask = step.mask(causal=False)
        for number, block in enumerate(w["encoder.layer"]):
            x = self._norm(attention(block, x, step, number, mask, config), block["attention.output.LayerNorm"])
            x = self._norm(feed_forward(block, x, config), block["output.LayerNorm"])
        outputs = {"last_hidden_state": x}
        if POOLER in w:
            outputs["pooler_output"] = kernels.tanh(kernels.linear(step.first_of_each(x), w[POOLER]))
        return outputs

    def tables(self) -> dict[str, int]:
        """See `Backbone.tables`."""
        config = self.config
        return {
            "input_ids": config.vocab_size,
            "token_type_ids": config.type_vocab_size,
            "position_ids": config.max_position_embeddings,
        }

    @property
    def pooled(self) -> bool:
        """See `Backbone.pooled`."""
        return f"{POOLER}.weight" in self.by_name

    def token_logits(self, w: Tree, hidden: Tensor) -> Tensor:
        """See `Backbone.token_logits`."""
        head = w["head"]
        x = kernels.linear(hidden, head[f"{TRANSFORM}.dense"], activation=self.config.hidden_act)
        x = self._norm(x, head[f"{TRANSFORM}.LayerNorm"])
        if self.config.tie_word_embeddings:
            return kernels.linear(x, w[WORDS]._replace(bias=head[BIAS.rpartition(".")[0]].bias))
        return kernels.linear(x, head[DECODER])

    def next_sentence_logits(self, w: Tree, pooled: Tensor) -> Tensor:
        """See `Backbone.next_sentence_logits`."""
        return kernels.linear(pooled, w["head"][NEXT_SENTENCE])

    def _embed(self, w: Tree, step: Step) -> Tensor:
        """The norm of the sum of three embeddings, (B, T, hidden)."""
        types = step.inputs.get("token_type_ids")
        if types is None:
            types = step.token_ids * 0
        x = kernels.embedding(step.token_ids, w[WORDS], self.compute_dtype)
        x = x + kernels.embedding(types, w["embeddings.token_type_embeddings"], self.compute_dtype)
        x = x + kernels.embedding(step.positions, w["embeddings.position_embeddings"], self.compute_dtype)
        return self._norm(x, w["embeddings.LayerNorm"])

    def _norm(self, x: Tensor, w: Any) -> Tensor:
        return kernels.layer_norm(x, w, self.config.layer_norm_eps)


def attention(w: Tree, x: Tensor, step: Step, number: int, mask: Any, config: BertConfig) -> Tensor:
    """x plus attention of every token to every token. x (B, T, hidden), and so the result."""
    q, k, v = kernels.linears(x, *(w[f"attention.self.{name}"] for name in ("query", "key", "value")))
    y = step.attend_heads(number, q, k, v, width=config.head_dim, mask=mask, scale=config.head_dim**-0.5)
    return kernels.linear(y, w["attention.output.dense"], residual=x)


def feed_forward(w: Tree, x: Tensor, config: BertConfig) -> Tensor:
    """x plus two linears with an activation in between. x (B, T, hidden), and so the result."""
    inner = kernels.linear(x, w["intermediate.dense"], activation=config.hidden_act)
    return kernels.linear(inner, w["output.dense"], residual=x)
