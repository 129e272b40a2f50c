"""MistralConfig against transformers' two: every field, every key that its code reads, and what an export says."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intermodal.config import inverse_frequencies
from intermodal.errors import ConfigError
from intermodal.testing import ROPE_REFUSED, TINY_DECODER
from intermodal.testing.arbitrary import check_any_config
from intermodal_mistral.config import MistralConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    **TINY_DECODER,
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "num_hidden_layers": 1,
    "initializer_range": 0.3,
    "eos_token_id": [2, 3],
}
LLAMA31 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def read(raw: dict[str, Any], **options: Any) -> MistralConfig:
    return MistralConfig.from_hf(raw, **options)[0]


def theirs(raw: dict[str, Any]) -> Any:
    return transformers.MistralConfig(**copy.deepcopy(raw))


def assert_same(config: MistralConfig, reference: Any) -> None:
    """Every number that shapes or computes the model agrees."""
    for name in config.checks().keys() - {"architectures", "id2label", "label2id"}:
        expected = getattr(reference, name)
        assert getattr(config, name) == (tuple(expected) if isinstance(expected, list) else expected), name
    rotary = transformers.models.mistral.modeling_mistral.MistralRotaryEmbedding(reference)
    frequencies, factor = inverse_frequencies(config.rope, config.head_dim)
    np.testing.assert_allclose(frequencies, rotary.inv_freq.numpy(), rtol=3e-7)
    assert factor == pytest.approx(rotary.attention_scaling, rel=1e-12)


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"rms_norm_eps": 1e-2},
        {"head_dim": 24},
        {"head_dim": None},
        {"num_key_value_heads": 1},
        {"sliding_window": 7},
        {"sliding_window": None},
        {"hidden_size": 36, "num_attention_heads": 8},
        {"tie_word_embeddings": True},
        {"hidden_act": "silu"},
        {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0},
        {"pad_token_id": -1},
        {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}},
        {"num_labels": 1, "problem_type": "regression"},
        {"rope_theta": 5e3},
        {"rope_theta": 500000, "rope_scaling": LLAMA31},
        {"rope_parameters": {**LLAMA31, "rope_theta": 5e5}},
        {"rope_scaling": {"type": "linear", "factor": 3.7}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 16},
        {"rope_parameters": None, "rope_theta": 7.0, "rope_scaling": None},
    ],
    ids=lambda change: "-".join(change),
)
def test_each_field_reads_as_in_transformers_and_exports_to_the_same_model(change: dict[str, Any]) -> None:
    raw = TINY | change
    config = read(raw)
    assert_same(config, theirs(raw))
    exported = json.loads(json.dumps(config.to_hf()))
    assert_same(config, theirs(exported))
    assert read(exported) == config
    assert exported["rope_parameters"]["rope_theta"] == exported["rope_theta"]
    assert {name: exported[name] for name in TINY if name not in change} == {
        name: value for name, value in TINY.items() if name not in change
    }


def test_an_exported_config_loads_by_name(tmp_path: Path) -> None:
    config = MistralConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=2, vocab_size=99, num_hidden_layers=2
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf(architectures=("MistralModel",), dtype="bfloat16")))
    reference = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(reference) is transformers.MistralConfig
    assert reference.dtype == torch.bfloat16
    assert reference.architectures == ["MistralModel"]
    assert_same(config, reference)


def test_swish_is_silu() -> None:
    assert read(TINY | {"hidden_act": "swish"}).hidden_act == "silu"
    functions, x = transformers.activations.ACT2FN, torch.linspace(-9, 9, 101)
    assert torch.equal(functions["swish"](x), functions["silu"](x))


def test_an_integer_that_stands_for_a_float_is_exported_as_one() -> None:
    config = read(TINY | {"rms_norm_eps": 1})
    assert config.rms_norm_eps == 1.0
    assert_same(config, theirs(config.to_hf()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5"),
        (ROPE_REFUSED["rope dynamic"], "rope_scaling.type = 'dynamic'"),
        (ROPE_REFUSED["rope by layer kind"], "rope_parameters = "),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3"),
        ({"head_dim": 7}, "head_dim = 7"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0"),
        ({"vocab_size": 10**18}, "vocab_size = "),
        ({"num_hidden_layers": "4"}, "num_hidden_layers = '4'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps = nan"),
        ({"sliding_window": 0}, "sliding_window = 0"),
        ({"sliding_window": True}, "sliding_window = true"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types = "),
        ({"layer_types": ["chunked_attention"]}, "layer_types = ['chunked_attention']"),
        ({"layer_types": "sliding_attention"}, "layer_types = 'sliding_attention'"),
        ({"layer_types": ["sliding_attention"], "sliding_window": None}, "sliding_window = null"),
        ({"quantization_config": {"quant_method": "awq"}}, "unquantised original"),
        ({"max_position_embeddings": None}, "max_position_embeddings = null"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(TINY | change)
    assert named in str(caught.value)


# --- layers that differ -----------------------------------------------------------------------------------------------

MIXED = ["full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize("model_type", ["mistral", "ministral"])
def test_layers_that_differ_read_and_export_as_transformers_ministral(model_type: str, tmp_path: Path) -> None:
    raw = {**TINY, "model_type": model_type, "num_hidden_layers": 3, "sliding_window": 7, "layer_types": MIXED}
    config = read(raw)
    assert config.windows == (None, 7, 7)
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf()))
    reference = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(reference) is transformers.MinistralConfig
    assert (reference.layer_types, reference.sliding_window, reference.head_dim) == (MIXED, 7, 12)
    assert read(config.to_hf()) == config


def test_an_unlisted_ministral_is_a_mistral() -> None:
    for window in (7, None):
        raw = {**TINY, "model_type": "ministral", "sliding_window": window}
        derived = transformers.MinistralConfig(**copy.deepcopy(raw)).layer_types
        assert read(raw).windows == (window,)
        assert derived == ["full_attention" if window is None else "sliding_attention"]
    assert read({"model_type": "ministral"}).windows == (4096,) * 32


@pytest.mark.parametrize(("kind", "window"), [("full_attention", None), ("attention", None), ("sliding_attention", 7)])
def test_layers_that_are_all_alike_need_no_list(kind: str, window: int | None, tmp_path: Path) -> None:
    config = read({**TINY, "sliding_window": 7, "layer_types": [kind]})
    assert (config.windows, config.layer_types) == ((window,), None)
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf()))
    reference = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(reference) is transformers.MistralConfig
    assert reference.sliding_window == window
    assert read(config.to_hf()) == config


def test_as_many_key_value_heads_as_heads_where_an_older_file_says_null() -> None:
    config = read(TINY | {"num_key_value_heads": None})
    assert config.num_key_value_heads == 4
    assert_same(config, theirs(config.to_hf()))


def test_whatever_a_file_holds_is_refused_or_read_and_written_back() -> None:
    def computes(config: MistralConfig) -> None:
        if config.head_dim <= 256:
            assert np.isfinite(inverse_frequencies(config.rope, config.head_dim)[0]).all()

    check_any_config(MistralConfig, computes)
