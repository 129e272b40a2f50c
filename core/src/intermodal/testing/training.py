"""Whether Keras's `fit` trains a model: its loss falls, and every weight takes part."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

RATE, EPOCHS = 5e-3, 16
"""Of Adam: with these, the loss of the small models of every family falls to a third or less from any random head."""


def assert_new_head_learns(
    folder: str | Path,
    task: str,
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    still: Collection[str] = (),
    seed: int = 0,
) -> Any:
    """Assert that a classifier with a new head learns labels by heart, through every weight of its backbone.

    The loss has to halve. That is out of reach for a head that sees nothing of its inputs: it learns at best how often
    each label occurs, which leaves more than 0.8 of a first loss of log(classes) where they occur about equally often.

    Args:
        folder: a checkpoint without a head for `task`.
        task: one of classification.
        inputs: of one batch, by name, each (batch, …).
        labels: (batch,) integers, every class from 0 among them.
        still: names of weights of the backbone that nothing in this call depends on.
        seed: of the head's weights.

    Returns:
        The trained model.
    """
    import keras
    import pytest
    from keras import ops

    import intermodal

    keras.utils.set_random_seed(seed)
    with pytest.warns(UserWarning, match="NEW"):
        model = intermodal.load(folder, task, config={"num_labels": int(labels.max()) + 1}, progress=False)
    weights = dict(model.backbone.by_name)

    def values() -> dict[str, np.ndarray]:
        return {name: np.array(ops.convert_to_numpy(weight)) for name, weight in weights.items()}

    before = values()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(RATE), loss=loss)
    silent: Any = 0  # an integer, which Keras's own annotation leaves out
    history = model.fit(dict(inputs), labels, epochs=EPOCHS, batch_size=len(labels), verbose=silent).history["loss"]
    assert history[-1] < 0.5 * history[0], f"the loss went from {history[0]:.3f} to {history[-1]:.3f} only"
    unmoved = {name for name, value in values().items() if np.array_equal(value, before[name])}
    assert unmoved == set(still), f"{sorted(unmoved)} did not change in training, expected {sorted(still)}"
    return model
