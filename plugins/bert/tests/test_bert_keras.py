"""BERT models as Keras models: fitting, saving, LoRA, int8 and symbolic calls, on every backend."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, assert_int8_is_near, make_reference, save_reference
from intermodal.testing.training import assert_new_head_learns
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(6).integers(3, 99, (4, 12)).astype("int32")


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return save_reference(make_reference("BertForPreTraining", tiny), tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoder(tiny, tmp_path_factory):
    return save_reference(make_reference("BertForMaskedLM", tiny).bert, tmp_path_factory.mktemp("encoder"))


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_keras_file_of_an_encoder_without_pooler(encoder, tmp_path):
    model = intermodal.load(encoder)
    assert model.report.left_out
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(again(IDS)["last_hidden_state"]), numpy(model(IDS)["last_hidden_state"]))
    assert again(IDS).keys() == {"last_hidden_state"}


def test_fit_learns_a_new_classifier(folder):
    assert_new_head_learns(folder, "text-classification", {"input_ids": IDS}, np.array([0, 1, 2, 1]))


def test_lora_and_int8(folder, tmp_path):
    model = intermodal.load(folder, task="fill-mask")
    before = numpy(model(IDS))
    model.enable_lora(2, ["query", "value"], alpha=4, seed=0)
    assert len(model.trainable_variables) == 2 * 2 * 2
    assert_close(model(IDS), before, scale=1e-6)
    model = intermodal.load(folder, task="fill-mask")
    assert_int8_is_near(model, IDS)
    got = numpy(model(IDS))
    model.save_pretrained(tmp_path / "widened")
    assert_close(intermodal.load(tmp_path / "widened")(IDS), got, scale=1e-5)


def test_symbolic_calls_give_shapes(folder, tiny, tmp_path):
    model = intermodal.load(folder)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("input_ids", "token_type_ids")}
    outputs = model(inputs)
    assert outputs["prediction_logits"].shape == (None, None, 99)
    assert outputs["seq_relationship_logits"].shape == (None, 2)
    functional = keras.Model(inputs, outputs)
    expected = model({"input_ids": IDS, "token_type_ids": IDS % 2})
    for name, values in functional({"input_ids": IDS, "token_type_ids": IDS % 2}).items():
        assert_close(values, numpy(expected[name]), scale=1e-6)
    choices = intermodal.load(save_reference(make_reference("BertForMultipleChoice", tiny), tmp_path))
    ids = keras.Input((3, None), dtype="int32")
    assert choices(ids).shape == (None, 3)
    assert choices.predict(IDS.reshape(2, 2, 12), verbose=0).shape == (2, 2)
