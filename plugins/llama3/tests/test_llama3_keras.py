"""Llama models as Keras models: calling, fitting, saving, LoRA and int8, on every backend."""

import hashlib

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import CheckpointError, WeightError
from intermodal.testing.reference import assert_close, make_reference, save_reference
from intermodal.testing.training import assert_lora_learns_and_merges
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(6).integers(3, 96, (4, 12)).astype("int32")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def folder(request, tiny, tmp_path_factory):
    reference = make_reference("LlamaForCausalLM", tiny)
    return save_reference(reference, tmp_path_factory.mktemp("llama"), dtype=request.param)


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_is_stored_as_in_the_checkpoint_and_computed_in_float32(folder):
    model = intermodal.load(folder)
    stored = {str(variable.dtype) for variable in model.variables}
    assert stored == {"bfloat16"} or stored == {"float32"}
    assert model.compute_dtype == "float32"
    assert str(keras.backend.standardize_dtype(model(IDS).dtype)) == "float32"


def test_dict_keywords_and_ids_alone_are_the_same(folder):
    model = intermodal.load(folder)
    mask = np.ones_like(IDS)
    expected = numpy(model({"input_ids": IDS, "attention_mask": mask}))
    np.testing.assert_array_equal(numpy(model(input_ids=IDS, attention_mask=mask).logits), expected)
    assert_close(model(IDS), expected, scale=1e-5)
    assert_close(model.predict({"input_ids": IDS}, verbose=0), expected, scale=1e-5)
    with pytest.raises(ValueError, match="input_ids"):
        model(attention_mask=mask)


def test_fit_learns_and_leaves_the_file_alone(folder):
    model = intermodal.load(folder, dtype="float32")
    before = digest(folder)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss)
    history = model.fit({"input_ids": IDS}, np.roll(IDS, -1, axis=1), epochs=4, batch_size=4, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] * 0.9
    assert digest(folder) == before


def test_training_what_is_stored_as_loaded_leaves_the_file_alone(folder):
    model = intermodal.load(folder)
    before, weights = digest(folder), numpy(ops.cast(model.variables[0].value, "float32")).copy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    model.fit({"input_ids": IDS}, np.roll(IDS, -1, axis=1), epochs=1, batch_size=4, verbose=0)
    assert not np.array_equal(numpy(ops.cast(model.variables[0].value, "float32")), weights)
    assert digest(folder) == before


def test_keras_file(folder, tmp_path):
    model = intermodal.load(folder)
    expected = numpy(model(IDS))
    model.save(tmp_path / "model.keras")
    again = intermodal.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(again(IDS)), expected)
    with pytest.raises(CheckpointError, match="settles dtype"):
        intermodal.load(tmp_path / "model.keras", dtype="float16")
    assert [str(v.dtype) for v in again.variables] == [str(v.dtype) for v in model.variables]
    assert again.dtype_policy.compute_dtype == model.dtype_policy.compute_dtype
    assert again.dtype_policy.variable_dtype == model.dtype_policy.variable_dtype


def test_lora_trains_only_its_updates_and_is_merged_on_export(folder, tmp_path):
    model = intermodal.load(folder, dtype="float32")
    assert_lora_learns_and_merges(model, IDS, ["q_proj", "v_proj"], tmp_path / "merged")
    trained = numpy(model(IDS))
    model.save(tmp_path / "lora.keras")
    again = keras.models.load_model(tmp_path / "lora.keras")
    assert_close(again(IDS), trained, scale=1e-6)
    assert len(again.trainable_variables) == len(model.trainable_variables)


def test_lora_refuses_what_it_cannot_do(folder):
    model = intermodal.load(folder)
    with pytest.raises(WeightError, match="no_such_proj"):
        model.enable_lora(2, ["no_such_proj"])
    with pytest.raises(WeightError, match="rank"):
        model.enable_lora(0)
    model.enable_lora(2)
    with pytest.raises(WeightError, match="already"):
        model.enable_lora(2)


@pytest.mark.parametrize(("mode", "stored_as", "error"), [("int8", "int8", 0.1), ("int4", "uint8", 0.5)])
def test_quantised_it_computes_what_its_rounded_weights_say(tiny, tmp_path, mode, stored_as, error):
    folder = save_reference(make_reference("LlamaForCausalLM", {**tiny, "intermediate_size": 96}), tmp_path / "saved")
    model = intermodal.load(folder)
    expected = numpy(model(IDS))
    model.quantize(mode)
    got = numpy(model(IDS))
    stored = {name: str(v.dtype) for part in model.parts() for name, v in part.by_name.items()}
    assert stored["layers.0.mlp.down_proj.weight"] == stored_as
    assert stored["layers.0.mlp.up_proj.weight"] == "int8"  # rows of 48 are no whole groups
    assert stored["layers.0.input_layernorm.weight"] not in ("int8", "uint8")
    assert 0 < np.abs(got - expected).max() < error * np.abs(expected).max()
    model.save_pretrained(tmp_path / "widened")
    assert_close(intermodal.load(tmp_path / "widened")(IDS), got, scale=1e-5)
    model.save(tmp_path / "narrow.keras")
    again = keras.models.load_model(tmp_path / "narrow.keras")
    assert again.quantization == mode
    assert_close(again(IDS), got, scale=1e-6)
    with pytest.raises(WeightError, match=f"already quantised .{mode}"):
        again.quantize("int8")
    with pytest.raises(WeightError, match="float8"):
        intermodal.load(folder).quantize("float8")


def test_symbolic_call_gives_shapes(folder):
    model = intermodal.load(folder)
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    functional = keras.Model(ids, model(ids))
    assert functional.output_shape == (None, None, 96)
    assert_close(functional(IDS), numpy(model(IDS)), scale=1e-6)


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
