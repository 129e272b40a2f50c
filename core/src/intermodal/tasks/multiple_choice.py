"""Multiple choice: a score for each of several texts, to be compared with each other."""

from __future__ import annotations

from typing import Any

import keras

from intermodal import kernels
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel, Tensor


@keras.saving.register_keras_serializable(package="intermodal")
class MultipleChoice(TaskModel):
    """Called with inputs of shape (batch, choices, sequence), it returns logits (batch, choices) in float32."""

    task = "multiple-choice"

    def call(self, inputs: dict[str, Tensor], training: bool = False, flags: dict[str, bool] | None = None) -> Tensor:
        """What Keras calls; see `TaskModel.__call__`. Each choice is a text of its own.

        Raises:
            ValueError: an input is not of shape (batch, choices, sequence).
        """
        if not isinstance(inputs, dict):
            inputs = {"input_ids": inputs}
        for name, value in inputs.items():
            if len(value.shape) != 3:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, expected (batch, choices, sequence)")
        choices = kernels.length_of(inputs["input_ids"])
        texts = {name: ops.reshape(value, (-1, *ops.shape(value)[2:])) for name, value in inputs.items()}
        return ops.reshape(self.compute(self.tensors(), self.backbone.step({**texts, **(flags or {})})), (-1, choices))

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, 1) of texts (B, T)."""
        return ops.cast(self.backbone.class_logits(w, step, self.backbone.forward(w, step)), "float32")

    def compute_output_spec(self, inputs: Any, **_: Any) -> Any:
        """(batch, choices), float32."""
        ids = inputs["input_ids"] if isinstance(inputs, dict) else inputs
        return keras.KerasTensor(ids.shape[:2], dtype="float32")
