"""ViT's image processor against transformers', and pixels from the checkpoint's own files."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, InputError
from intermodal.testing.reference import make_reference, save_reference
from intermodal_vit.image_processor import ViTImageProcessor

Image = pytest.importorskip("PIL.Image")
theirs = pytest.importorskip("transformers.models.vit.image_processing_pil_vit")

FILES = {
    "defaults": {},
    "a number": {"size": 30},
    "height and width": {"size": {"height": 20, "width": 28}},
    "a list": {"size": [20, 28]},
    "bicubic": {"resample": 3, "size": 30},
    "nearest": {"resample": 0, "size": 30},
    "lanczos": {"resample": 1, "size": 30},
    "ImageNet's mean": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "not normalised": {"do_normalize": False},
    "not rescaled": {"do_rescale": False},
    "another factor": {"rescale_factor": 1 / 127.5},
    "not resized": {"do_resize": False},
    "null": {"do_convert_rgb": None},
}


def image(height=31, width=47):
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_transformers(name):
    expected = theirs.ViTImageProcessorPil(**FILES[name])([image()], return_tensors="np")
    got = ViTImageProcessor.from_hf(FILES[name])([image()])
    assert list(got) == ["pixel_values"]
    np.testing.assert_array_equal(got["pixel_values"], expected["pixel_values"])


def test_settings_of_a_call_are_transformers():
    settings = {"size": {"height": 12, "width": 16}, "do_normalize": False}
    expected = theirs.ViTImageProcessorPil()(image(), return_tensors="pt", **settings)["pixel_values"]
    got = ViTImageProcessor()(image(), return_tensors="pt", **settings)["pixel_values"]
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got.numpy(), expected.numpy())
    with pytest.raises(InputError, match="data_format: no setting of ViTImageProcessor"):
        ViTImageProcessor()(image(), data_format="channels_last")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"size": {"shortest_edge": 224}}, "size"),
        ({"size": 224, "default_to_square": False}, "default_to_square"),
        ({"do_center_crop": True}, "do_center_crop"),
        ({"do_pad": True}, "do_pad"),
        ({"resample": 7}, "resample"),
        ({"image_std": [1, 0, 1]}, "image_std"),
    ],
)
def test_what_is_not_done_is_refused(raw, key):
    with pytest.raises(ConfigError, match=key):
        ViTImageProcessor.from_hf(raw)


def test_auto_image_processor_and_export(tiny, tmp_path):
    """The file beside a checkpoint is read, serves the loaded model, and is written so that transformers reads it."""
    folder = save_reference(make_reference("ViTForImageClassification", tiny), tmp_path / "checkpoint")
    written = theirs.ViTImageProcessorPil(size={"height": 20, "width": 20}, image_mean=[0.1, 0.2, 0.3])
    written.save_pretrained(folder)
    expected = written(image(), return_tensors="np")["pixel_values"]
    found = intermodal.AutoImageProcessor.from_pretrained(folder)
    assert type(found) is ViTImageProcessor
    model = intermodal.load(folder)
    for processor in (found, model.processor, intermodal.AutoProcessor.from_pretrained(folder)):
        np.testing.assert_array_equal(processor(image())["pixel_values"], expected)
    model.save_pretrained(tmp_path / "exported")
    raw = json.loads((tmp_path / "exported" / "preprocessor_config.json").read_text())
    assert raw["image_processor_type"] == "ViTImageProcessor"
    again = theirs.ViTImageProcessorPil.from_pretrained(tmp_path / "exported")
    np.testing.assert_array_equal(again(image(), return_tensors="np")["pixel_values"], expected)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        intermodal.load(tmp_path / "model.keras").processor(image())["pixel_values"], expected
    )


def test_without_a_file_there_is_no_processor(tiny, tmp_path):
    folder = save_reference(make_reference("ViTForImageClassification", tiny), tmp_path)
    assert intermodal.load(folder).processor is None
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json"):
        intermodal.AutoImageProcessor.from_pretrained(folder)
    with pytest.raises(InputError, match=r"no preprocessor_config\.json"):
        intermodal.pipeline("image-classification", folder)
