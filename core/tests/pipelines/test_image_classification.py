"""Image classification equal to transformers' pipeline on the same checkpoint, and its command."""

import io
import json
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.commands import main
from intermodal.errors import InputError, TaskError

from .conftest import assert_same, encoder

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("intermodal_vit", reason="pip install intermodal-vit")

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 24,
    "patch_size": 8,
}
LABELS = {index: f"thing {index}" for index in range(7)}


def checkpoint(folder, **fields):
    from intermodal.testing.reference import make_reference
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    if "num_labels" not in fields:
        fields = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}, **fields}
    make_reference("ViTForImageClassification", {**SMALL, **fields}).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 24, "width": 24}).save_pretrained(folder)
    return folder


def both(folder):
    """The pipeline here, and transformers' with the pixels of Pillow."""
    import transformers
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    pixels = ViTImageProcessorPil.from_pretrained(folder)
    theirs = transformers.pipeline("image-classification", str(folder), image_processor=pixels)
    return intermodal.pipeline("image-classification", folder), theirs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def pipelines(folder):
    return both(folder)


@pytest.fixture(scope="module")
def images():
    """Of every mode that people pass, one of them lying on its side as EXIF says."""
    random = np.random.default_rng(9)
    made = [
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        for shape in ((30, 40, 3), (40, 20), (24, 24, 3), (31, 17, 4))
    ]
    made[0].getexif()[0x0112] = 6
    return made


@pytest.fixture(scope="module")
def paths(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index, image in enumerate(images):
        image.save(folder / f"{index}.png", exif=image.getexif())
    return [str(folder / f"{index}.png") for index in range(len(images))]


def test_images_and_paths(pipelines, images, paths):
    ours, theirs = pipelines
    assert_same(ours(images), theirs(images))
    assert_same(ours(paths), theirs(paths))
    assert_same(ours(images[0]), theirs(images[0]))
    assert_same(ours(paths[0]), theirs(paths[0]))
    assert_same(ours(np.asarray(images[0])), theirs(np.asarray(images[0])))


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 2},
        {"top_k": 100},
        {"top_k": None},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "NONE", "top_k": 7},
    ],
)
def test_keywords(options, pipelines, images):
    ours, theirs = pipelines
    assert_same(ours(images[:2], **options), theirs(images[:2], **options))


@pytest.mark.parametrize(
    "fields",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
        {"num_labels": 1},
    ],
)
def test_scores_follow_the_config(fields, images, tmp_path):
    ours, theirs = both(checkpoint(tmp_path, **fields))
    assert_same(ours(images[0]), theirs(images[0]))


def test_batches_iterators_and_other_ways_to_pass_an_image(pipelines, images, paths):
    ours, _ = pipelines
    expected = ours(images)
    assert_same(ours(images, batch_size=3), expected)
    stream = ours(iter(images), batch_size=2)
    assert not isinstance(stream, list)
    assert_same(list(stream), expected)
    data = Path(paths[2]).read_bytes()
    for same in (data, memoryview(data), Image.open(io.BytesIO(data)), np.moveaxis(np.asarray(images[2]), -1, 0)):
        assert_same(ours(same), expected[2])


def test_what_is_refused(pipelines, folder, paths, tmp_path):
    ours, _ = pipelines
    with pytest.raises(InputError, match="is not fetched"):
        ours("https://example.org/cat.png")
    with pytest.raises(InputError, match="cannot be read"):
        ours(str(tmp_path / "missing.png"))
    with pytest.raises(InputError, match="takes no timeout"):
        ours(paths[0], timeout=3)
    with pytest.raises(InputError, match="function_to_apply='tanh'"):
        ours(paths[0], function_to_apply="tanh")
    with pytest.raises(InputError, match="top_k=0"):
        ours(paths[0], top_k=0)
    with pytest.raises(TaskError, match=r"no task 'image-classification'"):
        intermodal.pipeline("image-classification", encoder(tmp_path / "text", "SequenceClassification"))
    with pytest.raises(InputError, match="one of them"):
        intermodal.pipeline("image-classification", folder, processor=folder, image_processor=folder)


def test_another_image_processor(folder, images, tmp_path):
    ours = intermodal.pipeline("image-classification", folder)
    raw = json.loads((folder / "preprocessor_config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text((folder / "config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps({**raw, "image_mean": [0.1, 0.1, 0.1]}))
    changed = intermodal.pipeline("image-classification", folder, image_processor=other)(images[0])
    loaded = intermodal.AutoImageProcessor.from_pretrained(other)
    assert_same(intermodal.pipeline(model=ours.model, image_processor=loaded)(images[0]), changed)
    assert changed != ours(images[0])


def test_the_command_prints_what_the_pipeline_returns(folder, paths, capsys):
    expected = intermodal.pipeline(model=folder)(paths, top_k=2)
    assert main(["classify-image", str(folder), *paths, "--top-k", "2", "--json"]) == 0
    assert_same(json.loads(capsys.readouterr().out), expected)
    assert main(["classify-image", str(folder), paths[0]]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["image", "label", "score"]
    assert len(lines) == 5
