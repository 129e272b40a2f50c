"""ViT models beyond the kit: images of other sizes, masks, older checkpoints, a base-sized model, and training."""

import intermodal
import numpy as np
import pytest
from intermodal.errors import InputError, TaskError
from intermodal.testing.reference import (
    assert_close,
    assert_int8_is_near,
    make_reference,
    reference_outputs,
    save_reference,
)
from intermodal.testing.training import assert_new_head_learns
from keras import ops

PIXELS = np.random.default_rng(5).standard_normal((2, 3, 20, 20)).astype("float32")


@pytest.fixture(scope="module")
def reference(tiny):
    return make_reference("ViTForImageClassification", {**tiny, "num_labels": 3})


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return save_reference(reference, tmp_path_factory.mktemp("vit"))


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.mark.backend
@pytest.mark.parametrize("size", [(32, 32), (12, 28), (22, 41), (4, 4)])
def test_positions_are_interpolated_as_transformers_does(size, reference, folder):
    import torch

    pixels = np.random.default_rng(6).standard_normal((2, 3, *size)).astype("float32")
    with torch.no_grad():
        expected = reference(torch.tensor(pixels), interpolate_pos_encoding=True).logits.numpy()
    model = intermodal.load(folder)
    assert_close(model(pixel_values=pixels, interpolate_pos_encoding=True).logits, expected)
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]}, and the model has positions for images of 20 x 20"):
        model(pixel_values=pixels)
    model.backbone.interpolate_pos_encoding = True
    assert_close(model.predict({"pixel_values": pixels}, verbose=0), expected)


def test_only_a_square_grid_is_interpolated(tiny, tmp_path):
    model = intermodal.load(save_reference(make_reference("ViTModel", {**tiny, "image_size": [8, 20]}), tmp_path))
    with pytest.raises(InputError, match="2 x 5 patches"):
        model(pixel_values=PIXELS, interpolate_pos_encoding=True)


@pytest.mark.backend
def test_masked_patches_are_not_seen(reference, folder):
    mask = np.ones((2, 26), "int32")
    mask[0, 7:12] = 0
    expected = reference_outputs(reference, pixel_values=PIXELS, attention_mask=mask)["logits"]
    got = intermodal.load(folder)(pixel_values=PIXELS, attention_mask=mask).logits
    assert_close(got, expected)
    assert np.abs(expected - reference_outputs(reference, pixel_values=PIXELS)["logits"]).max() > 1e-2


@pytest.mark.parametrize("shape", [(2, 20, 20, 3), (3, 20, 20), (2, 1, 20, 20)])
def test_pixels_of_another_shape_are_refused(shape, folder):
    with pytest.raises(InputError, match=r"expected \(batch, 3, height, width\)"):
        intermodal.load(folder)(np.zeros(shape, "float32"))


def test_an_encoder_without_pooler_and_one_of_masked_images(tiny, tmp_path):
    """A classifier's encoder has no pooler; one of masked images has a mask token and a decoder besides."""
    classifier = make_reference("ViTForImageClassification", tiny)
    folder = save_reference(classifier, tmp_path / "classifier")
    encoder = intermodal.load(folder, "feature-extraction")
    assert list(encoder(PIXELS)) == ["last_hidden_state"]
    assert encoder.report.left_out
    painter = make_reference("ViTForMaskedImageModeling", {**tiny, "encoder_stride": 4})
    folder = save_reference(painter, tmp_path / "painter")
    with pytest.raises(TaskError, match="ViTForMaskedImageModeling"):
        intermodal.load(folder)


@pytest.mark.backend
def test_fit_learns_a_new_classifier(tiny, tmp_path):
    folder = save_reference(make_reference("ViTModel", tiny), tmp_path)
    pixels = np.random.default_rng(7).standard_normal((6, 3, 20, 20)).astype("float32")
    assert_new_head_learns(folder, "image-classification", {"pixel_values": pixels}, np.arange(6) % 3)


@pytest.mark.backend
def test_bfloat16_is_near_float32(reference, tmp_path):
    expected = reference_outputs(reference, pixel_values=PIXELS)["logits"]
    model = intermodal.load(save_reference(reference, tmp_path), dtype="bfloat16")
    assert_close(model(PIXELS), expected, scale=0.05)


def test_a_model_of_the_size_of_vit_base(tmp_path):
    """Every width, the images and the labels of google/vit-base-patch16-224; two of its twelve layers."""
    reference = make_reference("ViTForImageClassification", {"num_hidden_layers": 2, "num_labels": 1000})
    pixels = np.random.default_rng(8).standard_normal((1, 3, 224, 224)).astype("float32")
    model = intermodal.load(save_reference(reference, tmp_path))
    assert_close(model(pixels), reference_outputs(reference, pixel_values=pixels)["logits"])


@pytest.mark.backend
def test_lora_and_int8(reference, folder):
    expected = reference_outputs(reference, pixel_values=PIXELS)["logits"]
    model = intermodal.load(folder)
    model.enable_lora(2, ["query", "value"], alpha=4, seed=0)
    assert sum("lora_" in variable.path for variable in model.trainable_variables) == 2 * 2 * 2
    assert_close(model(PIXELS), expected)
    assert_int8_is_near(intermodal.load(folder), PIXELS)


def test_auto_classes(folder, reference):
    expected = reference_outputs(reference, pixel_values=PIXELS)["logits"]
    model = intermodal.AutoModelForImageClassification.from_pretrained(folder)
    assert_close(model(pixel_values=PIXELS).logits, expected)
    with pytest.warns(UserWarning, match="NEW"):
        other = intermodal.AutoModelForImageClassification.from_pretrained(
            folder, num_labels=5, ignore_mismatched_sizes=True
        )
    assert other(pixel_values=PIXELS).logits.shape == (2, 5)
    assert intermodal.AutoModel.from_pretrained(folder)(pixel_values=PIXELS).last_hidden_state.shape == (2, 26, 48)
