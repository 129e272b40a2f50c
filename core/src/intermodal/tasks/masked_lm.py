"""What bidirectional models are pretrained for: the word behind a mask, and whether a second text follows the first."""

from __future__ import annotations

from typing import Any

import keras

from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel, Tensor


@keras.saving.register_keras_serializable(package="intermodal")
class MaskedLM(TaskModel):
    """Called, it returns logits (batch, sequence, vocabulary) in float32, of the word at each position."""

    task = "fill-mask"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, T, V)."""
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        return ops.cast(self.backbone.token_logits(w, hidden), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, sequence, vocabulary), float32."""
        return keras.KerasTensor((batch, length, self.config.vocab_size), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class NextSentencePrediction(TaskModel):
    """Called, it returns logits (batch, 2) in float32: index 0 says that the second text follows the first."""

    task = "next-sentence-prediction"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, 2)."""
        pooled = self.backbone.forward(w, step)["pooler_output"]
        return ops.cast(self.backbone.next_sentence_logits(w, pooled), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, 2), float32."""
        return keras.KerasTensor((batch, 2), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class Pretraining(TaskModel):
    """Both at once. Called, it returns a dict with the names that transformers gives them.

    `"prediction_logits"` (batch, sequence, vocabulary) as of `MaskedLM`, and `"seq_relationship_logits"` (batch, 2) as
    of `NextSentencePrediction`.
    """

    task = "pretraining"

    def compute(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Logits (B, T, V) and (B, 2)."""
        outputs = self.backbone.forward(w, step)
        words = self.backbone.token_logits(w, outputs["last_hidden_state"])
        follows = self.backbone.next_sentence_logits(w, outputs["pooler_output"])
        return {
            "prediction_logits": ops.cast(words, "float32"),
            "seq_relationship_logits": ops.cast(follows, "float32"),
        }

    def output_spec(self, batch: int | None, length: int | None) -> dict[str, Any]:
        """(batch, sequence, vocabulary) and (batch, 2), float32."""
        return {
            "prediction_logits": keras.KerasTensor((batch, length, self.config.vocab_size), dtype="float32"),
            "seq_relationship_logits": keras.KerasTensor((batch, 2), dtype="float32"),
        }
