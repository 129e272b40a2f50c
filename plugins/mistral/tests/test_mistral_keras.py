"""Mistral models as Keras models: saved and read again, adapted, quantised, and generating beyond the window."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal.testing.reference import assert_int8_is_near, make_reference, save_reference
from intermodal.testing.training import assert_lora_learns_and_merges
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
    assert_lora_learns_and_merges(intermodal.load(folder), IDS, ["q_proj", "v_proj"], tmp_path / "merged")


def test_int8_is_near(folder):
    assert_int8_is_near(intermodal.load(folder), IDS)


def test_greedy_ids_beyond_the_window_are_transformers(reference, folder):
    import torch

    model = intermodal.load(folder)
    with torch.no_grad():
        expected = reference.generate(torch.tensor(IDS[:1]).long(), max_new_tokens=24, do_sample=False).numpy()
    got = model.generate({"input_ids": IDS[:1]}, max_new_tokens=24, temperature=0.0)
    np.testing.assert_array_equal(np.asarray(got), expected)
