"""What computes texts side by side on TensorFlow: a program of XLA, where Keras compiles none for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from intermodal import kernels


class TextsProgram:
    """A model's result for what `packing.side_by_side` gives, compiled once for each shape.

    It holds the model's variables: see `TaskModel.drop_programs`.
    """

    def __init__(self, model: Any) -> None:
        def traced(inputs: Mapping[str, Any]) -> Any:
            with kernels.inference():
                w = tf.nest.map_structure(lambda x: None if x is None else tf.convert_to_tensor(x), model.tensors())
                return model.compute(w, model.backbone.step(inputs))

        self._compiled: Any = tf.function(traced, jit_compile=True, autograph=False)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The result for these inputs."""
        with tf.init_scope():  # no tape watches it
            return self._compiled({name: tf.convert_to_tensor(array) for name, array in inputs.items()}).numpy()
