"""Gemma 3 as a Keras model: fit, `.keras` files, LoRA and int8, on every backend."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, assert_int8_is_near, make_reference, save_reference
from intermodal.testing.training import assert_lora_learns_and_merges

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(6).integers(3, 96, (4, 12)).astype("int32")
NEXT = np.roll(IDS, -1, axis=1)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return save_reference(make_reference("Gemma3ForCausalLM", tiny), tmp_path_factory.mktemp("gemma"))


def test_a_step_of_fit_is_a_step_of_torch(tiny, folder):
    """Gradients flow through the tied table, the offset norms and both kinds of layers as they do in transformers."""
    import torch

    reference = make_reference("Gemma3ForCausalLM", tiny)
    optimizer = torch.optim.SGD(reference.parameters(), 0.1)
    logits = reference(torch.tensor(IDS)).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(NEXT).long().flatten()).backward()
    optimizer.step()
    model = intermodal.load(folder)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=LOSS)
    model.fit({"input_ids": IDS}, NEXT, batch_size=4, epochs=1, verbose=0)
    assert_close(model(IDS), reference(torch.tensor(IDS)).logits.detach().numpy())


def test_keras_file(folder, tmp_path):
    model = intermodal.load(folder, dtype="bfloat16")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    assert [str(v.dtype) for v in again.variables] == [str(v.dtype) for v in model.variables]
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each(IDS)) for each in (again, model)))


def test_lora_is_merged_into_what_transformers_reads(folder, tmp_path):
    import torch
    import transformers

    model = intermodal.load(folder)
    assert_lora_learns_and_merges(model, IDS, ["q_proj", "down_proj"], tmp_path / "merged")
    merged = transformers.Gemma3ForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        assert_close(model(IDS), merged(torch.tensor(IDS)).logits.numpy())


def test_int8(folder, tmp_path):
    model = intermodal.load(folder)
    assert_int8_is_near(model, IDS)
    assert str(model.backbone.by_name["embed_tokens.weight"].dtype) == "int8"
    model.save(tmp_path / "int8.keras")
    got = keras.ops.convert_to_numpy(model(IDS))
    assert_close(keras.models.load_model(tmp_path / "int8.keras")(IDS), got, scale=1e-6)
