"""Classification of texts and of tokens, and answers as spans: a linear head on the hidden states."""

from __future__ import annotations

from typing import Any

import keras

from intermodal import kernels
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel, Tensor, only


def last_token(ids: Tensor, valid: Tensor | None, pad_token_id: int | None) -> Tensor:
    """Index (B,) of the last token that is not padding, found as the reference does: by the padding id if there is one.

    Without a padding id the attention mask tells, and without a mask the last token is meant.
    """
    length = kernels.length_of(ids)
    if pad_token_id is not None:
        text = ops.not_equal(ids, pad_token_id)
    elif valid is not None:
        text = ops.cast(valid, "bool")
    else:
        return ops.zeros_like(ids[:, 0]) + (length - 1)
    return ops.argmax(ops.cast(text, "int32") * ops.arange(length, dtype="int32")[None, :], axis=-1)


@keras.saving.register_keras_serializable(package="intermodal")
class TextClassification(TaskModel):
    """Called, it returns logits (batch, labels) in float32: of the pooled output, or of the last token of a decoder."""

    task = "text-classification"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, labels)."""
        outputs = self.backbone.forward(w, step)
        pooled = outputs.get("pooler_output")
        if pooled is None:
            hidden = outputs["last_hidden_state"]
            last = last_token(step.token_ids, step.valid, self.config.pad_token_id)
            pooled = ops.take_along_axis(hidden, ops.cast(last, "int32")[:, None, None], axis=1)[:, 0]
        return ops.cast(kernels.linear(pooled, only(w["head"])), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, labels), float32."""
        return keras.KerasTensor((batch, self.config.num_labels), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class TokenClassification(TaskModel):
    """Called, it returns logits (batch, sequence, labels) in float32."""

    task = "token-classification"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, T, labels)."""
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        return ops.cast(kernels.linear(hidden, only(w["head"])), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, sequence, labels), float32."""
        return keras.KerasTensor((batch, length, self.config.num_labels), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class QuestionAnswering(TaskModel):
    """Called, it returns `start_logits` and `end_logits`, each (batch, sequence), in float32."""

    task = "question-answering"

    def compute(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Logits of each token being the answer's first, and its last."""
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        logits = ops.cast(kernels.linear(hidden, only(w["head"])), "float32")
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    def output_spec(self, batch: int | None, length: int | None) -> dict[str, Any]:
        """Two of (batch, sequence), float32."""
        return {name: keras.KerasTensor((batch, length), dtype="float32") for name in ("start_logits", "end_logits")}
