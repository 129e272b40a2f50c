"""Pixels of images of every kind, bit for bit those of transformers; and what is refused before it is decoded."""

import base64
import io
import sys

import numpy as np
import pytest
from intermodal.errors import ConfigError, InputError
from intermodal.processing import images
from intermodal.processing.image_processor import ImageProcessor
from intermodal.processing.images import read_image

Image = pytest.importorskip("PIL.Image")

SIZE = {"height": 20, "width": 28}
SETTINGS = {
    "as it stands": {},
    "another mean": {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]},
    "one mean for all": {"image_mean": 0.25, "image_std": 2.0},
    "bicubic": {"resample": 3},
    "nearest": {"resample": 0},
    "not rescaled": {"do_rescale": False},
    "another factor": {"rescale_factor": 0.01},
    "not normalised": {"do_normalize": False},
    "null is the default": {"image_mean": None, "do_convert_rgb": None},
}


def noise(*shape):
    return np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)


def theirs(**settings):
    siglip = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
    known = {"resample": 2, "size": SIZE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    given = {key: value for key, value in settings.items() if value is not None}
    return siglip.SiglipImageProcessorPil(**{**known, **given})


def pil(mode, shape=(31, 47)):
    if mode == "P with transparency":
        image = Image.fromarray(noise(*shape, 3)).quantize(16)
        image.info["transparency"] = 3
        return image
    if mode == "P":
        return Image.fromarray(noise(*shape, 3)).quantize(16)
    if mode == "1":
        return Image.fromarray(noise(*shape) > 127)
    if mode == "CMYK":
        return Image.fromarray(noise(*shape, 3)).convert("CMYK")
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(noise(*shape, *channels))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings(settings):
    changes = SETTINGS[settings]
    got = ImageProcessor.from_hf({"size": SIZE, **changes})(pil("RGB"))["pixel_values"]
    expected = theirs(**changes)(pil("RGB"), return_tensors="np")["pixel_values"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected.astype(np.float32))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P with transparency", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("shape", [(31, 47), (1, 90), (90, 1), (20, 28), (300, 7)])
def test_modes_and_shapes_of_pil_images(mode, shape):
    image = pil(mode, shape)
    expected = theirs(do_convert_rgb=True)(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(ImageProcessor.from_hf({"size": SIZE})(image)["pixel_values"], expected)


@pytest.mark.parametrize("shape", [(31, 47, 3), (3, 31, 47), (31, 47, 4), (4, 31, 47), (31, 47, 1), (31, 47)])
def test_arrays(shape):
    values = noise(*shape)
    asked = values[None] if len(shape) == 2 else values
    expected = theirs(do_convert_rgb=True)(asked, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(ImageProcessor.from_hf({"size": SIZE})(values)["pixel_values"], expected)


def test_tensors_of_torch_are_arrays():
    torch = pytest.importorskip("torch")
    values = noise(3, 9, 8)
    np.testing.assert_array_equal(read_image(torch.tensor(values)), values.transpose(1, 2, 0))


@pytest.mark.parametrize("mode", ["L", "P", "P with transparency", "RGB", "RGBA"])
def test_files_are_read_as_transformers_reads_them(mode, tmp_path):
    load_image = pytest.importorskip("transformers.image_utils").load_image
    data = encoded(pil(mode))
    path = tmp_path / "image.png"
    path.write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    expected = np.asarray(load_image(str(path)))
    sources = [path, str(path), data, uri, {"type": "image", "path": str(path)}, {"image": uri}, {"url": uri}]
    for source in [*sources, {"base64": base64.b64encode(data).decode()}]:
        np.testing.assert_array_equal(read_image(source), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation, tmp_path):
    load_image = pytest.importorskip("transformers.image_utils").load_image
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(pil("RGB"), "JPEG", exif=exif))
    np.testing.assert_array_equal(read_image(path), np.asarray(load_image(str(path))))


def test_a_large_image_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    data = encoded(pil("RGB"))
    for source in (data[:60], pil("RGB"), noise(31, 47, 3)):  # so little of the file holds no pixels
        with pytest.raises(InputError, match="47 x 31 pixels"):
            read_image(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://example.org/cat.png", "not fetched"),
        ("https://example.org/cat.png", "not fetched"),
        ("ftp://example.org/cat.png", "not fetched"),
        ("/nowhere/cat.png", "/nowhere/cat.png cannot be read"),
        ("data:image/png,abc", "has the form"),
        ("data:image/png;base64,ab$c", "base64"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "cannot be decoded"),
        (encoded(pil("RGB"))[:-200], "cannot be decoded"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((3, 9, 3), np.uint8), "may be either"),
        (np.zeros((5, 9, 7), np.uint8), "neither"),
        (np.zeros((0, 9, 3), np.uint8), "9 x 0 pixels"),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "more than 8 bits"),
        ({"type": "image"}, "has one of the keys"),
        (3, "An image is"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(source, said):
    with pytest.raises(InputError, match=said):
        read_image(source)


@pytest.mark.parametrize(
    "raw",
    [
        {"size": {"shortest_edge": 224}},
        {"size": {"height": 0, "width": 3}},
        {"size": {"height": 1 << 20, "width": 3}},
        {"resample": 9},
        {"do_resize": "yes"},
        {"image_mean": [0.5, 0.5]},
        {"image_std": [0, 1, 1]},
        {"rescale_factor": 0},
        {"do_center_crop": True},
        {"do_pad": True},
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_by_name(raw):
    with pytest.raises(ConfigError, match=f"preprocessor_config.json[^$]*{next(iter(raw))}"):
        ImageProcessor.from_hf(raw)


def test_unknown_keys_are_warned_about():
    with pytest.warns(UserWarning, match="sharpen"):
        ImageProcessor.from_hf({"sharpen": 3})


def test_images_that_keep_their_sizes_make_no_batch():
    processor = ImageProcessor.from_hf({"do_resize": False})
    assert processor(pil("RGB"))["pixel_values"].shape == (1, 3, 31, 47)
    with pytest.raises(InputError, match="different sizes"):
        processor([pil("RGB"), pil("RGB", (9, 9))])


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(InputError, match=r"intermodal\[images\]"):
        read_image(b"anything")
