"""Dispatch by task to a family of images that a test installs, and to nobody else."""

import json
import subprocess
import sys
import textwrap

import intermodal
import numpy as np
import pytest
from intermodal import plugins
from intermodal.errors import ConfigError, TaskError
from safetensors.numpy import save_file

PLUGIN = """
from dataclasses import dataclass
from intermodal.api import Family, hookimpl

TOY = Family(
    name="toy", model_types=("toy",), config="toy_parts:ToyConfig", backbone="toy_parts:ToyBackbone",
    weight_map="toy_parts:weight_map", architectures={"ToyForImageClassification": "image-classification"},
    task_classes={"image-classification": "toy_parts:ToyClassifier"}, image_processor="toy_parts:ToyImages",
    feature_extractor="toy_parts:ToyImages",
)

@hookimpl
def intermodal_families():
    return [TOY]
"""
PARTS = """
from dataclasses import dataclass
import keras
from intermodal.api import Backbone, ModelConfig, Step, TaskModel, WeightMap, fields, head, kernels, linear

@dataclass(frozen=True, kw_only=True)
class ToyConfig(ModelConfig):
    model_types = ("toy",)
    pixels: int = fields.size(4, most=64)

def weight_map(config, task):
    return WeightMap([*linear("body", config.pixels, 3), *head(linear("top", 3, config.num_labels))])

class ToyBackbone(Backbone):
    reads = ("pixel_values",)
    def step(self, inputs):
        return Step(None, None, inputs=inputs)
    def tables(self):
        return {}
    def forward(self, w, step):
        return {"last_hidden_state": kernels.linear(step.inputs["pixel_values"], w["body"])}

class ToyClassifier(TaskModel):
    task = "image-classification"
    main_input = "pixel_values"
    def compute(self, w, step):
        return kernels.linear(self.backbone.forward(w, step)["last_hidden_state"], w["head"]["top"])
    def output_spec(self, batch, pixels):
        return keras.KerasTensor((batch, self.config.num_labels), dtype="float32")

class ToyImages:
    def __init__(self, raw):
        self.raw = raw
    @classmethod
    def from_hf(cls, raw, *, file):
        return cls(raw)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A checkpoint of a family of images, whose plugin is installed."""
    site, folder = tmp_path / "site", tmp_path / "checkpoint"
    info = site / "intermodal_toy-1.0.dist-info"
    info.mkdir(parents=True)
    folder.mkdir()
    (site / "toy_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (site / "toy_parts.py").write_text(textwrap.dedent(PARTS))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intermodal-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[intermodal.families]\ntoy = toy_plugin\n")
    monkeypatch.syspath_prepend(str(site))
    plugins.reset()
    config = {"model_type": "toy", "architectures": ["ToyForImageClassification"], "pixels": 4}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text('{"do_resize": true, "size": 4}')
    random = np.random.default_rng(0)
    shapes = {"body.weight": (3, 4), "top.weight": (2, 3)}
    tensors = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    yield folder, tensors
    for module in ("toy_plugin", "toy_parts"):
        sys.modules.pop(module, None)
    plugins.reset()


def test_a_family_of_images_is_found_by_its_task(toy):
    folder, tensors = toy
    model = intermodal.AutoModelForImageClassification.from_pretrained(folder, id2label={0: "cat", 1: "dog"})
    pixels = np.ones((1, 4), np.float32)
    expected = pixels @ tensors["body.weight"].T @ tensors["top.weight"].T
    np.testing.assert_allclose(model(pixel_values=pixels).logits, expected, rtol=1e-5)
    np.testing.assert_allclose(model(pixels), expected, rtol=1e-5)
    assert model.config.id2label[1] == "dog"
    with pytest.raises(TaskError, match="toy has no task 'document-question-answering'; it has: image-classification"):
        intermodal.AutoModelForDocumentQuestionAnswering.from_pretrained(folder)
    with pytest.raises(ValueError, match="ToyClassifier needs pixel_values"):
        model({"input_ids": pixels})


def test_what_makes_its_inputs(toy):
    folder, _ = toy
    expected = {"do_resize": False, "size": 4}
    for auto in (intermodal.AutoImageProcessor, intermodal.AutoFeatureExtractor):
        assert auto.from_pretrained(folder, do_resize=False).raw == expected
    assert intermodal.AutoProcessor.from_pretrained(folder).raw == {"do_resize": True, "size": 4}
    done_anyway = intermodal.AutoImageProcessor.from_pretrained(folder, backend="pil", use_fast=False)
    assert done_anyway.raw == {"do_resize": True, "size": 4}
    for other in ({"backend": "torchvision"}, {"use_fast": True}):
        with pytest.raises(ConfigError, match=f"{next(iter(other))}=.*Pillow"):
            intermodal.AutoImageProcessor.from_pretrained(folder, **other)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json"):
        intermodal.AutoImageProcessor.from_pretrained(folder)


def test_families_without_images_say_so(classifier):
    with pytest.raises(ConfigError, match="checkpoint of bert, which has no image processor"):
        intermodal.AutoImageProcessor.from_pretrained(classifier)
    processor = intermodal.AutoProcessor.from_pretrained(classifier, use_fast=True)
    assert processor("the cat") == intermodal.AutoTokenizer.from_pretrained(classifier)("the cat")


def test_registering_processors(classifier, monkeypatch):
    from intermodal.auto.registry import Registered

    class Own:
        @classmethod
        def from_pretrained(cls, name, **arguments):
            return "mine", arguments

    config_class = type(intermodal.AutoConfig.from_pretrained(classifier))
    for auto in (intermodal.AutoImageProcessor, intermodal.AutoFeatureExtractor, intermodal.AutoProcessor):
        monkeypatch.setattr(auto, "_registered", Registered(auto.__name__))
        auto.register(config_class, Own)
        assert auto.from_pretrained(classifier, revision=None) == ("mine", {"revision": None})


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_them_loads_nothing():
    heavy = {"keras", "numpy", "jax", "torch", "tensorflow", "transformers", "huggingface_hub", "tokenizers", "pluggy"}
    names = ", ".join(name for name in intermodal.__all__ if name.startswith("Auto"))
    assert not heavy & imported(f"from intermodal import {names}")


def test_configs_and_tokenizers_need_no_keras(classifier):
    code = f"from intermodal import *\nAutoConfig.from_pretrained({str(classifier)!r})\n"
    code += f"AutoTokenizer.from_pretrained({str(classifier)!r})('the cat')"
    modules = imported(code)
    assert not modules & {"keras", "jax", "torch", "tensorflow", "transformers"}
    assert not {name for name in modules if name.startswith("intermodal_")} - {"intermodal_bert"}
