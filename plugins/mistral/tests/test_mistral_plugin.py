"""What the plugin declares: entry points, strings that resolve, near misses, a light import; and its one warning."""

import json
import warnings
from pathlib import Path
from typing import Any

import intermodal
import pytest
from intermodal.errors import MissingPluginError, TaskError
from intermodal.testing.reference import make_reference, save_reference
from intermodal_mistral.plugin import MISTRAL
from intermodal_mistral.splitting import TEKKEN
from tokenizers import Regex, Tokenizer, models, pre_tokenizers


def test_the_near_misses_are_names_that_transformers_knows() -> None:
    auto = pytest.importorskip("transformers").models.auto
    types = {*auto.configuration_auto.CONFIG_MAPPING}
    named = {name for name in MISTRAL.refused if name[0].islower() and "." not in name}
    assert named <= types
    assert {"mistral3", "ministral3", "mixtral", "pixtral"} <= named


@pytest.mark.parametrize("model_type", ["mistral3", "ministral3", "mixtral", "pixtral", "mistral4", "voxtral"])
def test_near_misses_are_refused_by_name_and_reason(model_type: str, tiny: dict, tmp_path: Path) -> None:
    save_reference(make_reference("MistralForCausalLM", tiny), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"model_type": model_type}))
    for options in ({}, {"family": "mistral"}):
        with pytest.raises(MissingPluginError) as caught:
            intermodal.load(tmp_path, **options)
        assert model_type in str(caught.value)
        assert MISTRAL.refused[model_type] in str(caught.value)


def test_architectures_of_other_families_are_refused_with_the_reason(tiny: dict, tmp_path: Path) -> None:
    save_reference(make_reference("MistralForCausalLM", tiny), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"architectures": ["MixtralForCausalLM"]}))
    with pytest.raises(TaskError, match="mixture of experts"):
        intermodal.load(tmp_path)


WRONG = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def a_tokenizer(pattern: str, tokens: list[str]) -> Any:
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, byte_level])
    return tokenizer


@pytest.mark.parametrize(
    ("pattern", "tokens", "warned"),
    [
        (WRONG, ["<unk>", "<SPECIAL_100>", "a"], True),
        (TEKKEN, ["<unk>", "<SPECIAL_100>", "a"], False),
        (WRONG, ["<unk>", "<s>", "a"], False),
    ],
    ids=["wrong", "right", "another vocabulary"],
)
def test_a_tokenizer_that_splits_text_otherwise_than_tekken_is_told_of(
    pattern: str, tokens: list[str], warned: bool, tiny: dict, tmp_path: Path
) -> None:
    save_reference(make_reference("MistralForCausalLM", tiny), tmp_path)
    a_tokenizer(pattern, tokens).save(str(tmp_path / "tokenizer.json"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = intermodal.load(tmp_path)
    assert any("tekken" in str(warning.message) for warning in caught) is warned
    assert any("tekken" in sentence for sentence in model.report.warnings) is warned
