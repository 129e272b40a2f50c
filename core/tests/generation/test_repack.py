"""Weights packed for generating on PyTorch, against the same weights widened."""

import dataclasses

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import WeightError
from intermodal.testing.reference import save_reference
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(3).integers(3, 300, (2, 9)).astype("int32")
torch_only = pytest.mark.skipif(keras.backend.backend() != "torch", reason="packs for PyTorch")


@pytest.fixture(scope="module")
def narrow(reference, tmp_path_factory):
    return save_reference(reference, tmp_path_factory.mktemp("narrow"), dtype="bfloat16")


def generated(model):
    return model.generate({"input_ids": IDS}, max_new_tokens=12, do_sample=False, eos_token_id=[])


def logits(model):
    return np.asarray(ops.convert_to_numpy(model.predict_on_batch({"input_ids": IDS})))


@torch_only
@pytest.mark.parametrize("kind", ["bfloat16", "float16", "int8"])
def test_packed_weights_say_what_the_same_weights_say_widened(narrow, kind):
    model = intermodal.load(narrow, dtype="float32" if kind == "int8" else kind)
    if kind == "int8":
        model.quantize("int8")
    plain, ids = logits(model), generated(model)
    report = model.repack()
    assert report.weights == 15
    assert not report.left
    np.testing.assert_allclose(logits(model), plain, atol=2e-6 * np.abs(plain).max())
    np.testing.assert_array_equal(generated(model), ids)
    name = "layers.0.mlp.up_proj.weight"
    model.backbone.packed[name] = dataclasses.replace(model.backbone.packed[name], factor=0.0)
    assert not np.allclose(logits(model), plain)  # so it was the packed form that answered


@torch_only
def test_a_changed_weight_is_not_taken_from_its_packed_form(narrow):
    model = intermodal.load(narrow)
    model.repack()
    assert model.tensors()["layers"][1]["mlp.up_proj"].packed is not None
    variable = model.backbone.by_name["layers.1.mlp.up_proj.weight"]
    variable.assign(ops.zeros_like(variable))
    changed = logits(model)
    assert model.tensors()["layers"][1]["mlp.up_proj"].packed is None
    fresh = intermodal.load(narrow)
    fresh.backbone.by_name["layers.1.mlp.up_proj.weight"].assign(ops.zeros_like(variable))
    np.testing.assert_allclose(changed, logits(fresh), atol=2e-6 * np.abs(changed).max())


@torch_only
def test_a_repacked_model_trains_and_is_saved_as_before(narrow, tmp_path):
    model = intermodal.load(narrow)
    model.repack()
    model.enable_lora(2, seed=1)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit({"input_ids": IDS}, IDS, epochs=1, verbose=0)
    assert any(np.any(ops.convert_to_numpy(v.value)) for v in model.variables if v.name.endswith("lora_b"))
    model.save_pretrained(tmp_path / "saved")
    again = intermodal.load(tmp_path / "saved", dtype="float32")
    expected = logits(model)
    np.testing.assert_allclose(logits(again), expected, atol=2e-2 * np.abs(expected).max())  # merged into bfloat16
    assert model.tensors()["layers"][0]["mlp.up_proj"].packed is not None


@torch_only
@pytest.mark.parametrize("small", [2.0**-40, float("inf"), float("nan")])
def test_what_float16_would_not_hold_exactly_is_not_packed(small):
    import torch
    from intermodal.kernels.torch_packed import pack

    weight = torch.ones(4, 8, dtype=torch.bfloat16)
    assert pack(weight) is not None
    weight[1, 2] = small
    assert pack(weight) is None


def test_where_it_would_do_nothing_it_is_refused(narrow):
    model = intermodal.load(narrow, dtype="float32")
    expected = "nothing to repack" if keras.backend.backend() == "torch" else "is for PyTorch on a CPU"
    with pytest.raises(WeightError, match=expected):
        model.repack()
