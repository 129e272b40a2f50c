"""Whether Keras's `fit` trains a model: its loss falls, and every weight takes part, or only LoRA's updates do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def assert_lora_learns_and_merges(model: Any, ids: np.ndarray, projections: Sequence[str], folder: Path) -> None:
    """Assert that LoRA starts without effect, alone is trained, and is part of the weights that are saved.

    Args:
        model: generates text, is stored in float32, and is trained here.
        ids: (batch, sequence) integers; the next of each is learnt.
        projections: last names of the linears that get an update.
        folder: where the merged checkpoint is written.
    """
    import keras
    from keras import ops

    import intermodal
    from intermodal.testing.reference import assert_close

    def logits(of: Any) -> np.ndarray:
        return np.array(ops.convert_to_numpy(of(ids)))

    targets = [
        name for name in model.backbone.by_name if name.endswith(tuple(f".{each}.weight" for each in projections))
    ]
    before = logits(model)
    model.enable_lora(2, list(projections), alpha=4, seed=0)
    assert len(model.trainable_variables) == 2 * len(targets)
    assert_close(model(ids), before, scale=1e-6)
    frozen = {name: np.array(ops.convert_to_numpy(model.backbone.by_name[name].value)) for name in targets}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(5e-2), loss=loss)
    silent: Any = 0
    labels = np.roll(ids, -1, axis=1)
    history = model.fit({"input_ids": ids}, labels, epochs=4, batch_size=len(ids), verbose=silent).history["loss"]
    assert history[-1] < history[0], f"the loss went from {history[0]:.3f} to {history[-1]:.3f}"
    for name, values in frozen.items():
        kept = ops.convert_to_numpy(model.backbone.by_name[name].value)
        np.testing.assert_array_equal(kept, values, err_msg=f"{name} was trained beside its update")
    trained = logits(model)
    assert np.abs(trained - before).max() > 1e-2
    model.save_pretrained(folder)
    assert_close(intermodal.load(folder, progress=False)(ids), trained, scale=1e-5)
