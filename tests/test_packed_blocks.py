"""GGUF's blocks kept packed: the model of the same values in float32, in every way that a model is used."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import WeightError
from intermodal.examination import examine
from intermodal.testing.decoders import TINY_DECODER, decoder_gguf_metadata
from intermodal.testing.gguf_file import gguf_tensors, write_gguf
from intermodal.testing.reference import assert_close, make_reference, save_reference
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(9).integers(3, 96, (2, 11)).astype("int32")
FIELDS = {**TINY_DECODER, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
PACKED = {"Q8_0": "int8", "Q4_1": "uint8"}


@pytest.fixture(scope="module", params=PACKED)
def both(request, tmp_path_factory):
    """A file, the type of its matrices, the model with its blocks, and the one with their values."""
    folder = tmp_path_factory.mktemp("packed")
    examined = examine(str(save_reference(make_reference("LlamaForCausalLM", FIELDS), folder / "model")))
    metadata = decoder_gguf_metadata(examined.config, "llama")
    metadata.pop("general.architecture")
    path = write_gguf(folder / "model.gguf", "llama", metadata, gguf_tensors(examined), request.param)
    return path, request.param, intermodal.load(path), intermodal.load(path, dtype="float32")


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_it_holds_the_file_s_bytes_and_computes_the_same(both):
    path, kind, packed, wide = both
    if packed.quantization is None:
        pytest.skip(packed.report.storage_reason)
    assert packed.quantization == kind
    weight = packed.backbone.by_name["layers.1.self_attn.q_proj.weight"]  # its rows come in another order
    assert keras.backend.standardize_dtype(weight.dtype) == PACKED[kind]
    assert packed.report.bytes < 0.45 * wide.report.bytes
    assert intermodal.inspect(path).model_bytes == packed.report.bytes
    assert_close(packed(IDS), numpy(wide(IDS)), scale=1e-5)
    greedy = {"max_new_tokens": 16, "do_sample": False, "eos_token_id": []}
    for ids in (IDS[:1, :1], IDS):
        expected = wide.generate({"input_ids": ids}, **greedy)
        np.testing.assert_array_equal(packed.generate({"input_ids": ids}, **greedy), expected)


def test_it_is_written_as_the_values_that_it_stands_for(both, tmp_path):
    _, _, packed, wide = both
    packed.save_pretrained(tmp_path / "saved")
    again = intermodal.load(tmp_path / "saved")
    for name, variable in wide.backbone.by_name.items():
        np.testing.assert_array_equal(numpy(again.backbone.by_name[name]), numpy(variable))
    packed.save(tmp_path / "model.keras")
    restored = intermodal.load(tmp_path / "model.keras")
    assert restored.quantization == packed.quantization
    np.testing.assert_array_equal(numpy(restored(IDS)), numpy(packed(IDS)))


def test_lora_goes_on_top_and_nothing_else_changes_integers(both, tmp_path):
    path, kind, packed, wide = both
    if packed.quantization is None:
        pytest.skip(packed.report.storage_reason)
    with pytest.raises(WeightError, match=rf"already quantised \({kind}\).*dtype=.float32"):
        packed.quantize("int8")
    model = intermodal.load(path)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    with pytest.raises(WeightError, match=f"stored as {kind}.*enable_lora"):
        model.fit({"input_ids": IDS}, np.zeros((2, 11, 96)), verbose=0)
    model.enable_lora(2, ["q_proj", "v_proj"], seed=1)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    model.fit({"input_ids": IDS}, np.zeros((2, 11, 96)), epochs=2, verbose=0)
    trained = numpy(model(IDS))
    assert np.abs(trained - numpy(wide(IDS))).max() > 1e-3
    with pytest.raises(WeightError, match=kind):
        model.merge_adapter()
    model.save_pretrained(tmp_path / "merged")
    assert_close(intermodal.load(tmp_path / "merged")(IDS), trained, scale=1e-5)
