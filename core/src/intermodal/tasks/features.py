"""Feature extraction: the backbone alone."""

from __future__ import annotations

from typing import Any

import keras

from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel


@keras.saving.register_keras_serializable(package="intermodal")
class FeatureExtraction(TaskModel):
    """Called, it returns `{"last_hidden_state": (batch, sequence, hidden)}`, and perhaps `"pooler_output"`."""

    task = "feature-extraction"

    def compute(self, w: Tree, step: Step) -> dict[str, Any]:
        """What the backbone returns."""
        return self.backbone.forward(w, step)

    def output_spec(self, batch: int | None, length: int | None) -> dict[str, Any]:
        """`last_hidden_state`, and `pooler_output` where the backbone has one, in the compute dtype."""
        hidden = self.config.hidden_size
        spec = {"last_hidden_state": keras.KerasTensor((batch, length, hidden), dtype=self.compute_dtype)}
        if self.backbone.pooled:
            spec["pooler_output"] = keras.KerasTensor((batch, hidden), dtype=self.compute_dtype)
        return spec
