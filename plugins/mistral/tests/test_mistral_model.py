"""Logits of Mistral checkpoints against transformers, for every config field at a value that is not its default."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

pytestmark = pytest.mark.backend

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e3,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONG = 40

VARIANTS = {
    "plain": {},
    "no window": {"sliding_window": None},
    "a window of one": {"sliding_window": 1},
    "a short window": {"sliding_window": 7},
    "a window as long as the text": {"sliding_window": LONG},
    "rms_norm_eps": {"rms_norm_eps": 1e-2},
    "head_dim": {"head_dim": 24},
    "hidden_size that heads do not divide": {"hidden_size": 50, "head_dim": 12},
    "hidden_size that heads do not divide, head_dim derived": {"hidden_size": 51},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "rope_theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "rope llama3": {"rope_parameters": LLAMA3},
    "rope yarn": {"rope_parameters": YARN},
    "rope yarn, all keys": {
        "rope_parameters": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.3}
    },
    "tied": {"tie_word_embeddings": True},
    "one layer": {"num_hidden_layers": 1},
}
MINISTRAL = {
    "alternating": {"layer_types": ["full_attention", "sliding_attention"]},
    "the other way": {"layer_types": ["sliding_attention", "full_attention"]},
    "all sliding": {"layer_types": ["sliding_attention"] * 2},
    "all full": {"layer_types": ["full_attention"] * 2},
    "none listed": {},
}


def ids(batch=2, length=LONG):
    return np.random.default_rng(3).integers(3, 96, (batch, length)).astype("int32")


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, tiny, tmp_path):
    reference = make_reference("MistralForCausalLM", {**tiny, **VARIANTS[variant]})
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    assert model.task == "text-generation"
    assert_close(model({"input_ids": ids()}), reference_outputs(reference, input_ids=ids())["logits"])


@pytest.mark.parametrize("model_type", ["ministral", "mistral"])
@pytest.mark.parametrize("variant", MINISTRAL)
def test_layers_that_differ(variant, model_type, tiny, tmp_path):
    fields = {**tiny, "head_dim": 24, "sliding_window": 5, **MINISTRAL[variant]}
    reference = make_reference("MinistralForCausalLM", fields)
    save_reference(reference, tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    # transformers' AutoConfig reads a mistral with layer_types as a ministral
    (tmp_path / "config.json").write_text(json.dumps(raw | {"model_type": model_type}))
    assert_close(intermodal.load(tmp_path)(ids()), reference_outputs(reference, input_ids=ids())["logits"])


CACHED = {
    "window": {"sliding_window": 7},
    "none": {"sliding_window": None},
    "alternating": {"sliding_window": 7, "layer_types": ["full_attention", "sliding_attention"], "head_dim": 12},
}


@pytest.mark.parametrize("prompt", [1, 11])
@pytest.mark.parametrize("variant", CACHED)
def test_cached_steps_are_the_full_forward_at_every_position(variant, prompt, tiny, tmp_path):
    from intermodal.layers.step import Step
    from keras import ops

    fields = {**tiny, **CACHED[variant]}
    architecture = "MinistralForCausalLM" if "layer_types" in fields else "MistralForCausalLM"
    reference = make_reference(architecture, fields)
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    tokens = ids(2, 24)
    expected = reference_outputs(reference, input_ids=tokens)["logits"]
    tensors, cache, found = model.tensors(), model.backbone.new_cache(2, 32), []
    for start, end in [(0, prompt), *((at, at + 1) for at in range(prompt, 24))]:
        positions = ops.convert_to_tensor(np.arange(start, end, dtype="int32")[None])
        seen = ops.convert_to_tensor((np.arange(32) < end)[None].repeat(2, 0))
        piece = ops.convert_to_tensor(tokens[:, start:end])
        step = Step(piece, positions, valid=seen, cache=cache, offset=start)
        found.append(_numpy(model.compute(tensors, step)))
        cache = step.cache
    assert_close(np.concatenate(found, 1), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side, tiny, tmp_path):
    reference = make_reference("MistralForCausalLM", {**tiny, "sliding_window": 6})
    save_reference(reference, tmp_path)
    mask = np.ones((2, LONG), "int32")
    mask[1, slice(0, 9) if side == "left" else slice(31, None)] = 0
    got = intermodal.load(tmp_path)(input_ids=ids(), attention_mask=mask)
    expected = reference_outputs(reference, input_ids=ids(), attention_mask=mask)["logits"]
    text = mask.astype(bool)
    assert_close(_numpy(got)[text], expected[text])


HEADS = {
    "ForSequenceClassification": ("text-classification", {"num_labels": 5}),
    "ForTokenClassification": ("token-classification", {"num_labels": 5}),
    "Model": ("feature-extraction", {}),
    "ForQuestionAnswering": ("question-answering", {}),
}


@pytest.mark.parametrize("family", ["Mistral", "Ministral"])
@pytest.mark.parametrize("head", HEADS)
def test_heads(head, family, tiny, tmp_path):
    task, extra = HEADS[head]
    if family == "Ministral":
        extra = {**extra, "head_dim": 12, "layer_types": ["full_attention", "sliding_attention"]}
    reference = make_reference(family + head, {**tiny, "sliding_window": 6, **extra})
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
