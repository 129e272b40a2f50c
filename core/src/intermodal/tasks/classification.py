"""Classification of texts, images, sound and tokens, and answers as spans: a head on the hidden states."""

from __future__ import annotations

from typing import Any

import keras

from intermodal import kernels
from intermodal.kernels.ops import ops
from intermodal.layers.backbone import Backbone
from intermodal.layers.parameters import Tree, only
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel, Tensor


class Classification(TaskModel):
    """What classifiers of whole inputs share. Called, they return logits (batch, labels) in float32."""

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, labels)."""
        return ops.cast(self.backbone.class_logits(w, step, self.backbone.forward(w, step)), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, labels), float32."""
        return keras.KerasTensor((batch, self.config.num_labels), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class TextClassification(Classification):
    """Called, it returns logits (batch, labels) in float32: of the pooled output, or of the last token of a decoder."""

    task = "text-classification"


@keras.saving.register_keras_serializable(package="intermodal")
class ImageClassification(Classification):
    """Called with `pixel_values` (batch, channels, height, width), it returns logits (batch, labels) in float32."""

    task = "image-classification"


@keras.saving.register_keras_serializable(package="intermodal")
class AudioClassification(Classification):
    """Called with `input_values` (batch, samples), it returns logits (batch, labels) in float32."""

    task = "audio-classification"


@keras.saving.register_keras_serializable(package="intermodal")
class TokenClassification(TaskModel):
    """Called, it returns logits (batch, sequence, labels) in float32."""

    task = "token-classification"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, T, labels)."""
        return ops.cast(kernels.linear(token_states(self.backbone, w, step), only(w["head"])), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, sequence, labels), float32."""
        return keras.KerasTensor((batch, length, self.config.num_labels), dtype="float32")


@keras.saving.register_keras_serializable(package="intermodal")
class QuestionAnswering(TaskModel):
    """Called, it returns `start_logits` and `end_logits`, each (batch, sequence), in float32."""

    task = "question-answering"

    def compute(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Logits of each token being the answer's first, and its last."""
        hidden = token_states(self.backbone, w, step)
        logits = ops.cast(kernels.linear(hidden, only(w["head"])), "float32")
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    def output_spec(self, batch: int | None, length: int | None) -> dict[str, Any]:
        """Two of (batch, sequence), float32."""
        return {name: keras.KerasTensor((batch, length), dtype="float32") for name in ("start_logits", "end_logits")}


@keras.saving.register_keras_serializable(package="intermodal")
class DocumentQuestionAnswering(QuestionAnswering):
    """As `QuestionAnswering`, of the words of a page; what it reads of the page beside them is its family's."""

    task = "document-question-answering"


def token_states(backbone: Backbone, w: Tree, step: Step) -> Tensor:
    """Hidden states (B, T, hidden) of tokens; in some models states of an image's regions come after them."""
    hidden = backbone.forward(w, step)["last_hidden_state"]
    return hidden if step.token_ids is None else hidden[:, : step.length]
