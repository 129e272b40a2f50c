"""Logits of Llama checkpoints against transformers, for every config field at a value that is not its default."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

pytestmark = pytest.mark.backend

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e3,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}

VARIANTS = {
    "plain": {},
    "rms_norm_eps": {"rms_norm_eps": 1e-2},
    "head_dim": {"head_dim": 24},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "rope_theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "rope llama3": {"rope_parameters": LLAMA3},
    "rope yarn": {"rope_parameters": YARN},
    "rope yarn, all keys": {
        "rope_parameters": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.3}
    },
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "one layer": {"num_hidden_layers": 1},
}


def ids(batch=2, length=40):
    return np.random.default_rng(3).integers(3, 96, (batch, length)).astype("int32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, tiny, tmp_path):
    reference = make_reference("LlamaForCausalLM", {**tiny, **VARIANTS[variant]})
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    assert model.task == "text-generation"
    assert_close(model({"input_ids": ids()}), reference_outputs(reference, input_ids=ids())["logits"])


def test_the_spelling_of_older_configs(tiny, tmp_path):
    reference = make_reference("LlamaForCausalLM", {**tiny, "rope_parameters": LLAMA3})
    save_reference(reference, tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    parameters = raw.pop("rope_parameters")
    raw["rope_theta"] = parameters.pop("rope_theta")
    raw["rope_scaling"] = parameters
    raw["torch_dtype"] = raw.pop("dtype", "float32")
    raw["transformers_version"] = "4.44.0"
    (tmp_path / "config.json").write_text(json.dumps(raw))
    expected = reference_outputs(reference, input_ids=ids())["logits"]
    assert_close(intermodal.load(tmp_path)(ids()), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side, tiny, tmp_path):
    reference = make_reference("LlamaForCausalLM", tiny)
    save_reference(reference, tmp_path)
    mask = np.ones((2, 40), "int32")
    mask[1, slice(0, 9) if side == "left" else slice(31, None)] = 0
    got = intermodal.load(tmp_path)(input_ids=ids(), attention_mask=mask)
    expected = reference_outputs(reference, input_ids=ids(), attention_mask=mask)["logits"]
    text = mask.astype(bool)
    assert_close(np.asarray(_numpy(got))[text], expected[text])


HEADS = {
    "LlamaForSequenceClassification": ("text-classification", {"num_labels": 5}),
    "LlamaForTokenClassification": ("token-classification", {"num_labels": 5}),
    "LlamaModel": ("feature-extraction", {}),
    "LlamaForQuestionAnswering": ("question-answering", {}),
}


@pytest.mark.parametrize("architecture", HEADS)
def test_heads(architecture, tiny, tmp_path):
    task, extra = HEADS[architecture]
    reference = make_reference(architecture, {**tiny, **extra})
    save_reference(reference, tmp_path)
    tokens = ids()
    tokens[1, 30:] = 0
    mask = (tokens != 0).astype("int32")
    model = intermodal.load(tmp_path)
    assert model.task == task
    got = model(input_ids=tokens, attention_mask=mask)
    expected = reference_outputs(reference, input_ids=tokens, attention_mask=mask)
    text = mask.astype(bool)
    if task == "text-classification":
        assert_close(got, expected["logits"])
    elif task == "token-classification":
        assert_close(_numpy(got)[text], expected["logits"][text])
    elif task == "feature-extraction":
        assert_close(_numpy(got["last_hidden_state"])[text], expected["last_hidden_state"][text])
    else:
        for name in ("start_logits", "end_logits"):
            assert_close(_numpy(got[name])[text], expected[name][text])


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
