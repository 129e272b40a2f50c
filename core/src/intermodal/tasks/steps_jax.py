"""What `predict` and `evaluate` compile on JAX: Keras' own steps, but with weights that are only read.

Keras donates the weights to its compiled steps and takes them back from the results. Memory that is the mapping of a
file, or numpy's, cannot be given away, so that XLA makes a copy of the whole model first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Step = Callable[[Any, Any], tuple[Any, Any]]
"""`(state, data) -> (result, state)`, as Keras' trainer calls it."""


def predict_step(model: Any) -> Step:
    """A step for `predict`; its state is the trainable and the other variables, and stays as it is."""

    def outputs(state: Any, data: Any) -> Any:
        return model.predict_step(state, data)[0]

    compiled: Any = jax.jit(outputs)
    return lambda state, data: (compiled(state, data), state)


def test_step(model: Any) -> Step:
    """A step for `evaluate`; of its state only the last part changes, the metrics'."""

    def logs(weights: Any, metrics: Any, data: Any) -> Any:
        found, state = model.test_step((*weights, metrics), data)
        return found, state[2]

    compiled: Any = jax.jit(logs)

    def step(state: Any, data: Any) -> tuple[Any, Any]:
        trainable, others, metrics = state
        found, metrics = compiled((trainable, others), metrics, data)
        return found, (trainable, others, metrics)

    return step
