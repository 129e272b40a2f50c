"""Generation settings: what files and arguments make of them, against transformers' GenerationConfig."""

import json
import math
import warnings
from types import SimpleNamespace

import pytest
from intermodal.errors import GenerationError
from intermodal.generation.keys import CONSUMED, FOR_SAMPLING, INERT, REFUSED, UNSET_LENGTH, is_neutral
from intermodal.generation.settings import DEFAULT_NEW_TOKENS, GenerationSettings
from intermodal.processing.load import read_generation_config
from intermodal.sources.local import LocalRepository
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM


class Stops:
    stop_ids = (7, 8)


def settings(generation=None, config=None, tokenizer=None) -> GenerationSettings:
    return GenerationSettings.from_files(generation, config or {}, tokenizer)


# --- the tables ------------------------------------------------------------------------------------------------------


def test_every_field_of_transformers_is_in_one_table():
    names = {name for name in vars(GenerationConfig()) if not name.startswith("_")} | {"_from_model_config"}
    tables = (CONSUMED, INERT, REFUSED)
    for name in names:
        assert sum(name in table for table in tables) == 1, name


def test_values_that_change_nothing_are_those_of_transformers():
    for name, value in GenerationConfig._get_default_generation_params().items():
        if name in REFUSED:
            assert is_neutral(name, value), name
    for name in REFUSED:
        assert is_neutral(name, None)
        assert not is_neutral(name, 3)
    assert GenerationConfig._get_default_generation_params()["max_length"] == UNSET_LENGTH


@pytest.fixture(scope="module")
def tiny():
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "vocab_size": 16}
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, max_position_embeddings=64, **shape))


FILES = [
    {},
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    {"do_sample": True, "top_k": None, "min_p": 0.05, "repetition_penalty": 1.1},
    {"temperature": 0.0, "do_sample": False},
    {"max_new_tokens": 7, "min_new_tokens": 2, "stop_strings": ["x"]},
    {"max_length": 40, "eos_token_id": [3, 4], "pad_token_id": 0},
]


@pytest.mark.parametrize("file", FILES, ids=json.dumps)
def test_settings_of_a_file_are_those_of_transformers(tiny, file, tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps(file))
    tiny.generation_config = GenerationConfig.from_pretrained(tmp_path)
    expected, _ = tiny._prepare_generation_config(None)
    ours = settings(file)
    for name in ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "pad_token_id"):
        assert getattr(ours, name) == getattr(expected, name), name
    assert ours.min_p == (expected.min_p or 0.0)
    assert ours.min_new_tokens == (expected.min_new_tokens or 0)
    assert (ours.max_length or UNSET_LENGTH) == expected.max_length
    assert list(ours.stop_strings) == (expected.stop_strings or [])
    assert list(ours.eos_token_id) == (expected.eos_token_id or [])


def test_without_the_file_config_json_counts(tmp_path, tiny):
    keys = {"do_sample": True, "temperature": 0.5, "num_beams": 1, "max_new_tokens": 5}
    tiny.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text()) | keys
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected, _ = LlamaForCausalLM.from_pretrained(tmp_path)._prepare_generation_config(None)
    ours = settings(None, config)
    assert (expected.do_sample, expected.temperature, expected.max_new_tokens) == (True, 0.5, 5)
    assert (ours.do_sample, ours.temperature, ours.max_new_tokens) == (True, 0.5, 5)
    assert settings({}, config).do_sample is False


@pytest.mark.parametrize("content", ['{\n  "do_sample": true,\n}', "[]", "", "\x00"])
def test_a_malformed_file_is_left_out_aloud(tmp_path, content):
    checkpoint = SimpleNamespace(repository=LocalRepository(tmp_path, str(tmp_path)))
    assert read_generation_config(checkpoint) is None
    (tmp_path / "generation_config.json").write_text(content)
    checkpoint = SimpleNamespace(repository=LocalRepository(tmp_path, str(tmp_path)))
    line = r"generation_config\.json.*line 3" if "do_sample" in content else r"generation_config\.json"
    with pytest.warns(UserWarning, match=f"{line}.*ignored"):
        assert read_generation_config(checkpoint) is None


def test_a_file_is_read(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"top_k": 5}')
    checkpoint = SimpleNamespace(repository=LocalRepository(tmp_path, str(tmp_path)))
    assert settings(read_generation_config(checkpoint)).top_k == 5


# --- accounting ------------------------------------------------------------------------------------------------------


def test_each_key_is_accounted_for():
    file = {"temperature": 0.5, "transformers_version": "5.0", "num_beams": 1, "use_cache": True, "my_key": [1]}
    report = settings(file).accounting.to_json()
    assert report["consumed"] == ["temperature"]
    assert set(report["inert"]) == {"transformers_version", "num_beams", "use_cache"}
    assert report["foreign"] == {"my_key": "[1]"}
    assert report["refused"] == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_implemented_is_refused_until_overridden_aloud(name):
    ours = settings({name: 3, "do_sample": name in FOR_SAMPLING})
    assert name in ours.accounting.to_json()["refused"][0]
    with pytest.raises(GenerationError, match=f"{name} = 3"):
        ours.override()
    neutral = next(iter(REFUSED[name].neutral), None)
    with pytest.warns(UserWarning, match=f"asks for {name} = 3.*overrides"):
        assert ours.override(**{name: neutral}).temperature == 1.0
    with pytest.raises(GenerationError, match=f"{name}=4: .* is not implemented"):
        ours.override(**{name: 4})


def test_what_only_sampling_would_use_is_not_refused_when_greedy():
    ours = settings({"typical_p": 0.5, "top_k": -1})
    ours.override()
    with pytest.raises(GenerationError, match=r"typical_p = 0\.5(.|\n)*top_k|top_k(.|\n)*typical_p"):
        ours.override(do_sample=True)


def test_all_refused_keys_are_listed_in_one_error():
    with pytest.raises(GenerationError, match=r"num_beams(.|\n)*suppress_tokens"):
        settings({"num_beams": 4, "suppress_tokens": [1]}).override()


@pytest.mark.parametrize("value", ["hot", -1.0, math.nan, [1], True])
def test_malformed_values_of_the_file(value):
    ours = settings({"repetition_penalty": value})
    with pytest.raises(GenerationError, match=r"repetition_penalty.*expected a finite number above 0"):
        ours.override()
    assert ours.override(repetition_penalty=1.5).repetition_penalty == 1.5


# --- stop tokens -----------------------------------------------------------------------------------------------------


def test_stop_tokens_are_those_of_all_files_together():
    ours = settings({"eos_token_id": [3, 4]}, {"eos_token_id": 5, "text_config": {"eos_token_id": [6, 3]}}, Stops())
    assert ours.eos_token_id == (3, 4, 5, 6, 7, 8)
    assert ours.override(eos_token_id=9).eos_token_id == (9,)
    assert ours.override(eos_token_id=[]).eos_token_id == ()
    assert settings(None, {"eos_token_id": -1}).eos_token_id == ()


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "1"),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 2),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("max_length", 0),
        ("max_length", 1 << 40),
        ("max_new_tokens", 0),
        ("max_new_tokens", -5),
        ("max_new_tokens", 2.0),
        ("max_new_tokens", True),
        ("min_new_tokens", -1),
        ("do_sample", 1),
        ("eos_token_id", "x"),
        ("stop_strings", [""]),
        ("stop_strings", ["x" * 2000]),
        ("stop_strings", 3),
        ("seed", -1),
        ("seed", "s"),
    ],
)
def test_absurd_arguments_are_refused(name, value):
    with pytest.raises(GenerationError, match=f"{name}.*expected"):
        settings().override(**{name: value})


def test_arguments_that_contradict_each_other():
    with pytest.raises(GenerationError, match="max_length=9 counts the prompt"):
        settings().override(max_length=9, max_new_tokens=3)
    with pytest.raises(GenerationError, match="pass do_sample=False"):
        settings().override(do_sample=True, temperature=0)
    with pytest.raises(GenerationError, match="temprature is no setting"):
        settings().override(temprature=0.5)
    with pytest.warns(UserWarning, match="temperature without effect: pass do_sample=True"):
        settings().override(temperature=0.5)
    with pytest.warns(UserWarning, match="use_cache=False has no effect"):
        settings().override(use_cache=False)


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    ours = settings().override(do_sample=np.bool_(True), top_k=np.int64(5), eos_token_id=np.array([1, 2]))
    assert (ours.do_sample, ours.top_k, ours.eos_token_id) == (True, 5, (1, 2))


def test_none_is_as_the_checkpoint_says():
    ours = settings({"do_sample": True, "temperature": 0.3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ours.override(temperature=None, top_k=None, seed=None).temperature == 0.3


# --- lengths ---------------------------------------------------------------------------------------------------------


def lengths(file=None, prompt=10, context=100, **arguments):
    return settings(file or {}).override(**arguments).resolve_lengths(prompt, context)


def test_lengths():
    assert lengths() == (100, 90, 0)
    assert lengths(context=None) == (10 + DEFAULT_NEW_TOKENS, DEFAULT_NEW_TOKENS, 0)
    assert lengths({"max_length": UNSET_LENGTH}) == (100, 90, 0)
    assert lengths(max_new_tokens=5) == (15, 5, 0)
    assert lengths(max_length=15) == (15, 5, 0)
    assert lengths({"max_length": 50}) == (50, 40, 0)
    assert lengths({"max_length": 5000}) == (100, 90, 0)
    assert lengths({"max_length": 50, "max_new_tokens": 7}) == (17, 7, 0)
    assert lengths({"max_length": 50}, max_new_tokens=60) == (70, 60, 0)
    assert lengths({"max_new_tokens": 50}, max_length=30) == (30, 20, 0)
    assert lengths({"min_length": 15, "min_new_tokens": 2}) == (100, 90, 5)
    assert lengths(min_new_tokens=600, context=None) == (610, 600, 600)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 91}, "10 tokens and 91 new ones are 101, but the context holds 100.*max_new_tokens=90"),
        ({"max_length": 101}, "context holds 100"),
        ({"max_length": 10}, "max_length=10 counts the prompt"),
        ({"prompt": 100}, "prompt has 100 tokens, but the context holds 100"),
        ({"file": {"max_length": 8}}, r"max_length=8 of generation_config\.json"),
        ({"min_new_tokens": 6, "max_new_tokens": 5}, "At least 6 new tokens"),
    ],
)
def test_lengths_that_do_not_fit(arguments, message):
    with pytest.raises(GenerationError, match=message):
        lengths(**arguments)


# --- writing it back -------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_was_read_with_all_stop_tokens(tmp_path):
    file = {"temperature": 0.6, "my_key": 1, "eos_token_id": 3, "do_sample": True}
    written = settings(file, {"eos_token_id": 5}).to_hf()
    assert written == {**file, "eos_token_id": [3, 5]}
    (tmp_path / "generation_config.json").write_text(json.dumps(written))
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == [3, 5]


def test_settings_without_a_file_are_written_where_they_differ():
    assert settings(None, {"bos_token_id": 1, "eos_token_id": 2}).to_hf() == {"bos_token_id": 1, "eos_token_id": 2}
    assert settings(None, {}).to_hf() == {}
    config = {"num_beams": 4, "top_k": 7, "stop_strings": ["x"]}
    assert settings(None, config).to_hf() == config
