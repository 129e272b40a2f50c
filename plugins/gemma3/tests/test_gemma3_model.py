"""Logits of Gemma 3 text checkpoints against transformers, each config field at a value that is not its default."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, IntermodalError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

pytestmark = pytest.mark.backend

FULL, SLIDING = "full_attention", "sliding_attention"


def ropes(full, sliding=None):
    return {"rope_parameters": {FULL: full, SLIDING: sliding or {"rope_type": "default", "rope_theta": 1e4}}}


def plain(theta):
    return {"rope_type": "default", "rope_theta": theta}


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
VARIANTS = {
    "plain": {},
    "rms_norm_eps": {"rms_norm_eps": 1e-2},
    "head_dim": {"head_dim": 24},
    "query_pre_attn_scalar": {"query_pre_attn_scalar": 5},
    "one key-value head": {"num_key_value_heads": 1},
    "global theta": ropes(plain(50.0)),
    "local theta": ropes(plain(1e6), plain(50.0)),
    "rope linear": ropes({"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}),
    "local rope linear": ropes(plain(1e5), {"rope_type": "linear", "rope_theta": 1e3, "factor": 3.0}),
    "rope yarn": ropes(YARN),
    "window": {"sliding_window": 3},
    "window of one": {"sliding_window": 1},
    "window longer than the text": {"sliding_window": 64},
    "all layers full": {"layer_types": [FULL] * 4},
    "all layers sliding": {"layer_types": [SLIDING] * 4},
    "attention_bias": {"attention_bias": True},
    "exact gelu": {"hidden_activation": "gelu"},
    "final_logit_softcapping": {"final_logit_softcapping": 3.0},
    "not tied": {"tie_word_embeddings": False},
    "looks both ways": {"use_bidirectional_attention": True, "sliding_window": 8},
    "looks both ways, odd window": {"use_bidirectional_attention": True, "sliding_window": 5},
}


def ids(batch=2, length=40):
    return np.random.default_rng(3).integers(3, 96, (batch, length)).astype("int32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, tiny, tmp_path):
    reference = make_reference("Gemma3ForCausalLM", {**tiny, **VARIANTS[variant]})
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    assert model.task == "text-generation"
    assert_close(model({"input_ids": ids()}), reference_outputs(reference, input_ids=ids())["logits"])


def test_bfloat16_rounds_the_factor_of_embeddings_first(tiny, tmp_path):
    from keras import ops

    reference = make_reference("Gemma3TextModel", {**tiny, "num_hidden_layers": 1, "layer_types": [FULL]})
    save_reference(reference, tmp_path, dtype="bfloat16")
    config = intermodal.load(tmp_path).config
    import torch
    from intermodal.kernels import Bundle
    from intermodal_gemma3.model import embed

    table = reference.embed_tokens.weight.detach().float().numpy()
    w = {"embed_tokens": Bundle(ops.convert_to_tensor(table, "bfloat16"))}
    got = embed(ops.convert_to_tensor(ids()), w, config, "bfloat16")
    expected = reference.embed_tokens(torch.tensor(ids())).detach().float().numpy()
    np.testing.assert_array_equal(np.asarray(ops.convert_to_numpy(ops.cast(got, "float32"))), expected)


def rewritten(folder, change):
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def older(raw):
    parameters = raw.pop("rope_parameters")
    raw["rope_theta"] = parameters[FULL].pop("rope_theta")
    raw["rope_local_base_freq"] = parameters[SLIDING]["rope_theta"]
    raw["rope_scaling"] = parameters[FULL] if parameters[FULL]["rope_type"] != "default" else None
    raw["sliding_window_pattern"] = 2
    for key in ("layer_types", "_sliding_window_pattern"):
        raw.pop(key, None)
    raw["torch_dtype"] = raw.pop("dtype", "float32")
    raw["transformers_version"] = "4.50.0"


@pytest.mark.parametrize("kind", [plain(5e3), {"rope_type": "linear", "rope_theta": 5e3, "factor": 8.0}])
def test_the_spelling_of_older_configs(kind, tiny, tmp_path):
    reference = make_reference("Gemma3ForCausalLM", {**tiny, **ropes(kind, plain(77.0))})
    save_reference(reference, tmp_path)
    rewritten(tmp_path, older)
    assert_close(intermodal.load(tmp_path)(ids()), reference_outputs(reference, input_ids=ids())["logits"])


def test_a_sparse_config_means_the_defaults_of_transformers(tiny, tmp_path):
    import transformers

    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    sparse = {key: tiny[key] for key in sizes} | {"num_hidden_layers": 7}
    reference = make_reference("Gemma3ForCausalLM", sparse)
    save_reference(reference, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3_text", **sparse}))
    model = intermodal.load(tmp_path, task="text-generation")
    theirs = transformers.Gemma3TextConfig(**sparse)
    assert model.config.head_dim == theirs.head_dim == 256
    assert list(model.config.layer_types) == theirs.layer_types
    assert_close(model(ids()), reference_outputs(reference, input_ids=ids())["logits"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side, tiny, tmp_path):
    reference = make_reference("Gemma3ForCausalLM", tiny)
    save_reference(reference, tmp_path)
    mask = np.ones((2, 40), "int32")
    mask[1, slice(0, 9) if side == "left" else slice(31, None)] = 0
    got = intermodal.load(tmp_path)({"input_ids": ids(), "attention_mask": mask})
    expected = reference_outputs(reference, input_ids=ids(), attention_mask=mask)["logits"]
    text = mask.astype(bool)
    assert_close(_numpy(got)[text], expected[text])


HEADS = {
    "Gemma3TextForSequenceClassification": ("text-classification", {"num_labels": 5}),
    "Gemma3TextModel": ("feature-extraction", {}),
}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("architecture", HEADS)
def test_heads(architecture, both, tiny, tmp_path):
    task, extra = HEADS[architecture]
    reference = make_reference(architecture, {**tiny, **extra, "use_bidirectional_attention": both})
    save_reference(reference, tmp_path)
    tokens = ids()
    tokens[1, 30:] = 0
    mask = (tokens != 0).astype("int32")
    model = intermodal.load(tmp_path)
    assert model.task == task
    got = model({"input_ids": tokens, "attention_mask": mask})
    expected = reference_outputs(reference, input_ids=tokens, attention_mask=mask)
    if task == "text-classification":
        assert_close(got, expected["logits"])
    else:
        text = mask.astype(bool)
        assert_close(_numpy(got["last_hidden_state"])[text], expected["last_hidden_state"][text])


@pytest.mark.parametrize("variant", ["plain", "window", "all layers sliding", "final_logit_softcapping"])
def test_greedy_text_past_the_window(variant, tiny, tmp_path):
    import torch

    reference = make_reference("Gemma3ForCausalLM", {**tiny, **VARIANTS[variant], "eos_token_id": None})
    save_reference(reference, tmp_path)
    prompt = ids(2, 7)
    expected = reference.generate(
        torch.tensor(prompt), attention_mask=torch.ones(2, 7, dtype=torch.long), max_new_tokens=24, do_sample=False
    )
    got = intermodal.load(tmp_path).generate({"input_ids": prompt}, max_new_tokens=24, do_sample=False)
    np.testing.assert_array_equal(got, expected.numpy())


def test_a_model_that_looks_both_ways_does_not_generate(tiny, tmp_path):
    save_reference(make_reference("Gemma3ForCausalLM", {**tiny, "use_bidirectional_attention": True}), tmp_path)
    with pytest.raises(IntermodalError, match="token by token"):
        intermodal.load(tmp_path).generate({"input_ids": [[5, 6, 7]]}, max_new_tokens=3)


def test_attention_caps_are_refused(tiny, tmp_path):
    save_reference(make_reference("Gemma3ForCausalLM", tiny), tmp_path)
    rewritten(tmp_path, lambda raw: raw.update(attn_logit_softcapping=50.0))
    with pytest.raises(ConfigError, match="attn_logit_softcapping"):
        intermodal.load(tmp_path)


def test_float16_is_refused_where_it_would_be_computed_in():
    from intermodal_gemma3.model import refuse_float16

    with pytest.raises(IntermodalError, match="bfloat16"):
        refuse_float16("float16")
    refuse_float16("bfloat16")


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
