"""Mistral models as Keras models: saved and read again, adapted, quantised, and generating beyond the window."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, make_reference, save_reference
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(6).integers(3, 96, (4, 12)).astype("int32")
KINDS = {
    "windows": ("MistralForCausalLM", {"sliding_window": 5}),
    "windows in some layers": (
        "MinistralForCausalLM",
        {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 12},
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def reference(request, tiny):
    architecture, fields = KINDS[request.param]
    return make_reference(architecture, {**tiny, "eos_token_id": None, **fields})


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return save_reference(reference, tmp_path_factory.mktemp("mistral"))


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_keras_file(folder, tmp_path):
    model = intermodal.load(folder)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config.windows == model.config.windows
    np.testing.assert_array_equal(numpy(again(IDS)), numpy(model(IDS)))


def test_lora_learns_and_is_merged_on_export(folder, tmp_path):
    model = intermodal.load(folder)
    before = numpy(model(IDS))
    model.enable_lora(2, ["q_proj", "v_proj"], alpha=4, seed=0)
    assert_close(model(IDS), before, scale=1e-6)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(5e-2), loss=loss)
    history = model.fit({"input_ids": IDS}, np.roll(IDS, -1, axis=1), epochs=3, batch_size=4, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    trained = numpy(model(IDS))
    assert np.abs(trained - before).max() > 1e-2
    model.save_pretrained(tmp_path / "merged")
    assert_close(intermodal.load(tmp_path / "merged")(IDS), trained, scale=1e-5)


def test_int8_is_near(folder):
    model = intermodal.load(folder)
    expected = numpy(model(IDS))
    model.quantize("int8")
    assert 0 < np.abs(numpy(model(IDS)) - expected).max() < 0.1 * np.abs(expected).max()


def test_greedy_ids_beyond_the_window_are_transformers(reference, folder):
    import torch

    model = intermodal.load(folder)
    with torch.no_grad():
        expected = reference.generate(torch.tensor(IDS[:1]).long(), max_new_tokens=24, do_sample=False).numpy()
    got = model.generate({"input_ids": IDS[:1]}, max_new_tokens=24, temperature=0.0)
    np.testing.assert_array_equal(np.asarray(got), expected)
