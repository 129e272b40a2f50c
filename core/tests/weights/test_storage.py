"""What `dtype="auto"` comes to, with and without compiled kernels, and that nothing is lost by it."""

import json

import intermodal
import numpy as np
import pytest
from intermodal import compiled
from intermodal.dtypes import default_storage
from intermodal.errors import WeightError
from intermodal.testing.decoders import TINY_DECODER
from intermodal.testing.reference import make_reference, save_reference
from keras import backend, ops

pytestmark = pytest.mark.backend

IDS = np.array([[1, 5, 9, 4, 2, 8]])


@pytest.fixture(params=["float32", "bfloat16", "float16"])
def folder(request, tmp_path):
    reference = make_reference("LlamaForCausalLM", TINY_DECODER)
    return save_reference(reference, tmp_path / "saved", dtype=request.param)


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setenv("INTERMODAL_PLUGINS", "-native")
    compiled.for_cpu.cache_clear()
    yield
    compiled.for_cpu.cache_clear()


def dtype_of(folder):
    return json.loads((folder / "config.json").read_text())["dtype"]


def stored(model):
    return {backend.standardize_dtype(variable.dtype) for variable in model.variables}


@pytest.mark.parametrize(
    ("device", "dtypes", "packed", "kernels", "blocks", "expected"),
    [
        ("cpu", {"bfloat16"}, set(), True, True, ("auto", False)),
        ("cpu", {"bfloat16", "float32"}, set(), False, False, ("float32", False)),
        ("cpu", {"float32"}, set(), False, False, ("auto", False)),
        ("cpu", {"float32"}, {"Q8_0"}, True, True, ("auto", True)),
        ("cpu", {"float32"}, {"Q8_0"}, True, False, ("auto", False)),
        ("cpu", {"float16"}, {"Q8_0"}, False, False, ("float32", False)),
        ("gpu", {"bfloat16"}, {"Q8_0"}, False, False, ("auto", False)),
    ],
)
def test_the_rule(device, dtypes, packed, kernels, blocks, expected):
    storage = default_storage(device, dtypes, packed, kernels=kernels, blocks=blocks)
    assert storage[:2] == expected
    named = dtypes - {"float32"} or packed
    assert device != "cpu" or all(name in storage.reason for name in named)


def test_with_kernels_narrow_weights_stay_and_without_them_they_are_widened(folder, without_kernels):
    own = dtype_of(folder)
    model = intermodal.load(folder)
    assert stored(model) == {"float32"}
    assert own in model.report.storage_reason
    assert intermodal.inspect(folder).storage == model.report.storage_reason
    assert stored(intermodal.load(folder, dtype=own)) == {own}  # a dtype that is asked for is what there is
    compiled.for_cpu.cache_clear()


def test_what_was_widened_is_written_as_it_was(folder, without_kernels, tmp_path):
    model = intermodal.load(folder)
    model.save_pretrained(tmp_path / "again")
    assert dtype_of(tmp_path / "again") == dtype_of(folder)
    first, second = (intermodal.load(path, dtype="float32") for path in (folder, tmp_path / "again"))
    for name, variable in first.backbone.by_name.items():
        np.testing.assert_array_equal(*(ops.convert_to_numpy(v) for v in (variable, second.backbone.by_name[name])))
    model.save(tmp_path / "model.keras")
    restored = intermodal.load(tmp_path / "model.keras")
    restored.save_pretrained(tmp_path / "restored")
    assert dtype_of(tmp_path / "restored") == dtype_of(folder)


def test_what_was_trained_since_is_written_whole(folder, without_kernels, tmp_path):
    model = intermodal.load(folder)
    weight = model.backbone.by_name["layers.0.mlp.up_proj.weight"]
    weight.assign(weight * 1.0001)
    model.save_pretrained(tmp_path / "again")
    assert dtype_of(tmp_path / "again") == "float32"
    again = intermodal.load(tmp_path / "again")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.backbone.by_name["layers.0.mlp.up_proj.weight"]), ops.convert_to_numpy(weight)
    )


def test_integers_are_not_trained_in_silence(folder):
    model = intermodal.load(folder, dtype="float32")
    model.quantize("int8")
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(WeightError, match=r"stored as int8.*dtype=.float32"):
        model.fit({"input_ids": IDS}, np.zeros((1, 6, TINY_DECODER["vocab_size"])), verbose=0)
    model.enable_lora(2)
    model.compile(optimizer="sgd", loss="mse")
    model.fit({"input_ids": IDS}, np.zeros((1, 6, TINY_DECODER["vocab_size"])), verbose=0)
