"""Gemma 3's text config: defaults, kinds of layers and rotary bases against transformers', and what is refused."""

import pytest
from intermodal.errors import ConfigError
from intermodal_gemma3.config import FULL, SLIDING, GemmaTextConfig

transformers = pytest.importorskip("transformers")


def read(**raw):
    return GemmaTextConfig.from_hf({"model_type": "gemma3_text", **raw})[0]


def test_defaults_are_those_of_transformers():
    ours, theirs = read(), transformers.Gemma3TextConfig()
    names = set(GemmaTextConfig.checks()) | {"final_logit_softcapping"}
    for name in names - {"architectures", "id2label", "label2id", "problem_type"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert list(ours.layer_types) == theirs.layer_types
    for kind, rope in ((FULL, ours.rope), (SLIDING, ours.local_rope)):
        assert theirs.rope_parameters[kind] == {"rope_type": rope.rope_type, "rope_theta": rope.rope_theta}


SPELLINGS = {
    "older": {"rope_theta": 5e5, "rope_local_base_freq": 123.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "theta alone": {"rope_theta": 5e5},
    "local base alone": {"rope_local_base_freq": 77.0},
    "one kind": {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 33.0}}},
    "one kind is null": {"rope_parameters": {FULL: None, SLIDING: {"rope_type": "default", "rope_theta": 33.0}}},
    "one kind, bases beside": {
        "rope_parameters": {FULL: {"rope_type": "default"}},
        "rope_theta": 9.0,
        "rope_local_base_freq": 8.0,
    },
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_rotary_spellings(name):
    ours, theirs = read(**SPELLINGS[name]), transformers.Gemma3TextConfig.from_dict(SPELLINGS[name])
    for kind, rope in ((FULL, ours.rope), (SLIDING, ours.local_rope)):
        expected = theirs.rope_parameters[kind]
        assert (rope.rope_type, rope.rope_theta) == (expected["rope_type"], expected["rope_theta"])
        assert rope.factor == expected.get("factor")


def test_the_oldest_spelling_of_the_kind_counts():
    # transformers 4 reads it so; 5.23 puts its own rope_type beside it, and then passes over the factor
    rope = read(rope_scaling={"type": "linear", "factor": 8.0}).rope
    assert (rope.rope_type, rope.factor) == ("linear", 8.0)


PATTERNS = {
    "default": {},
    "pattern": {"sliding_window_pattern": 3},
    "pattern of one": {"sliding_window_pattern": 1},
    "list": {"layer_types": [FULL, SLIDING] + [FULL] * 6},
    "list and pattern": {"layer_types": [FULL] * 8, "sliding_window_pattern": 3},
    "list and the later spelling": {"layer_types": [SLIDING] * 8, "_sliding_window_pattern": 4},
}


@pytest.mark.parametrize("name", PATTERNS)
def test_kinds_of_layers(name):
    raw = {"num_hidden_layers": 8, **PATTERNS[name]}
    assert list(read(**raw).layer_types) == transformers.Gemma3TextConfig(**raw).layer_types


@pytest.mark.parametrize("name", [*SPELLINGS, *PATTERNS])
def test_what_is_written_reads_back_the_same_here_and_in_transformers(name):
    config = read(num_hidden_layers=8, **(SPELLINGS | PATTERNS)[name])
    content = config.to_hf()
    assert GemmaTextConfig.from_hf(content)[0] == config
    theirs = transformers.Gemma3TextConfig.from_dict(content)
    assert theirs.layer_types == list(config.layer_types)
    assert theirs.rope_parameters[SLIDING]["rope_theta"] == config.local_rope.rope_theta
    assert theirs.rope_parameters[FULL]["rope_theta"] == config.rope.rope_theta


@pytest.mark.parametrize("width", [1, 2, 511, 512])
def test_the_window_that_looks_both_ways_is_halved_as_in_transformers(width):
    theirs = transformers.Gemma3TextConfig(use_bidirectional_attention=True, sliding_window=width)
    ours = read(use_bidirectional_attention=True, sliding_window=width)
    assert ours.reach == theirs.sliding_window
    assert ours.to_hf()["sliding_window"] == width


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_logit_softcapping", 50.0),
        ("hidden_activation", "relu"),
        ("query_pre_attn_scalar", 0),
        ("final_logit_softcapping", -1.0),
        ("hidden_size", 2305),
        ("num_key_value_heads", 3),
        ("head_dim", 15),
        ("head_dim", None),
        ("sliding_window", None),
        ("sliding_window_pattern", 0),
        ("_sliding_window_pattern", 4),
        ("layer_types", [FULL]),
        ("layer_types", ["chunked_attention"] * 26),
        ("layer_types", "full_attention"),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 1e4}),
        ("rope_parameters", {"chunked_attention": {"rope_type": "default"}}),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 2.0}),
        ("rope_local_base_freq", "1e4"),
        ("partial_rotary_factor", 0.5),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=key):
        read(**{key: value})
