"""Feature extraction: the backbone alone."""

from __future__ import annotations

from typing import Any

import keras

from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel


@keras.saving.register_keras_serializable(package="intermodal")
class FeatureExtraction(TaskModel):
    """Called, it returns `{"last_hidden_state": (batch, sequence, hidden)}`, and what else the backbone gives."""

    task = "feature-extraction"

    def compute(self, w: Tree, step: Step) -> dict[str, Any]:
        """What the backbone returns."""
        return self.backbone.forward(w, step)

    def compute_output_spec(self, inputs: Any, **_: Any) -> dict[str, Any]:
        """What the backbone returns, in the compute dtype."""
        main = inputs[self.main_input] if isinstance(inputs, dict) else inputs
        shapes = self.backbone.output_shapes(tuple(main.shape))
        return {name: keras.KerasTensor(shape, dtype=self.compute_dtype) for name, shape in shapes.items()}
