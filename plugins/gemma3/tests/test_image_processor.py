"""Gemma 3's processor against transformers': pixels, crops, ids and types of prompts with images."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from intermodal.errors import ConfigError
from intermodal.processing.load import tokenizer_from_repository
from intermodal.processing.load_processor import image_processor_from_repository, processor_from_repository
from intermodal.processing.tokenizer import Tokenizer
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal_gemma3.image_config import GemmaConfig
from intermodal_gemma3.plugin import GEMMA

R = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("image_reference", Path(__file__).with_name("image_reference.py"))
)
spec.loader.exec_module(R)
Image = pytest.importorskip("PIL.Image")

CLOSER = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 16}
SHAPES = [(31, 47), (20, 90), (90, 20), (1, 70), (70, 1), (24, 24), (64, 64), (48, 120), (300, 31), (40, 48)]


def picture(*shape):
    return Image.fromarray(np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


def read(folder):
    repository = open_repository(str(folder), Access())
    tokenizer = Tokenizer(tokenizer_from_repository(repository))
    return processor_from_repository(repository, GEMMA, tokenizer, GemmaConfig.from_hf(R.TINY)[0])


def both(folder):
    theirs = R.processor()
    theirs.save_pretrained(folder)
    return read(folder), theirs


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(values), err_msg=name)


@pytest.mark.parametrize("options", [{}, CLOSER, {**CLOSER, "pan_and_scan_max_num_crops": 3}], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_every_shape(shape, options, tmp_path):
    ours, theirs = both(tmp_path)
    call = {"text": f"see {R.PLACEHOLDER} here", "images": picture(*shape, 3), "return_tensors": "np"}
    assert_same(ours(**call, images_kwargs=options), theirs(**call, **options))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, CLOSER], ids=str)
def test_batches(side, options, tmp_path):
    ours, theirs = both(tmp_path)
    texts = [f"{R.PLACEHOLDER}{R.PLACEHOLDER} ab", "ef", f"x {R.PLACEHOLDER}"]
    images = [[picture(20, 90, 3), picture(9, 9)], [], [picture(30, 30, 4)]]
    call = {"padding": True, "padding_side": side, "return_tensors": "np"}
    assert_same(
        ours(texts, images, **call, images_kwargs=options), theirs(text=texts, images=images, **call, **options)
    )


@pytest.mark.parametrize("key", ["image", "path", "url", "base64"])
def test_chat_with_images_under_each_key(key, tmp_path):
    import base64

    ours, theirs = both(tmp_path / "processor")
    file = tmp_path / "image.png"
    picture(30, 40, 3).save(file)
    values = {"image": picture(30, 40, 3), "path": str(file), "url": str(file)}
    values["base64"] = base64.b64encode(file.read_bytes()).decode()
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "image", key: values[key]}]},
        {"role": "model", "content": "cd"},
    ]
    got = ours.apply_chat_template(messages, add_generation_prompt=True)
    assert_same(got, theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True))


def test_the_older_layout_of_files(tmp_path):
    theirs = R.processor(**CLOSER)
    theirs.save_pretrained(tmp_path)
    within = json.loads((tmp_path / "processor_config.json").read_text())
    older = {**within.pop("image_processor"), "do_convert_rgb": None, "processor_class": "Gemma3Processor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(older))
    (tmp_path / "processor_config.json").write_text(json.dumps(within))
    call = {"text": R.PLACEHOLDER, "images": picture(20, 90, 4)}  # a call decides on crops, not the file
    assert_same(read(tmp_path)(**call), theirs(**call))
    found = image_processor_from_repository(open_repository(str(tmp_path), Access()), GEMMA)
    assert found.do_pan_and_scan


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("image_seq_length", {"image_seq_length": 16}),
        ("size", {"image_processor": {"size": {"height": 20, "width": 24}}}),
        ("pan_and_scan_max_num_crops", {"image_processor": {"pan_and_scan_max_num_crops": 0}}),
    ],
)
def test_files_that_contradict_the_config_are_refused(name, change, tmp_path):
    R.processor().save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=name):
        read(tmp_path)
