"""Reading a config: each key is consumed, inert, refused or foreign, and every refusal is named at once."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from intermodal.config import ModelConfig, Problem, Rule, fields, one_of
from intermodal.config.common import COMMON_INERT, COMMON_RULES
from intermodal.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ModelConfig):
    model_types: ClassVar[tuple[str, ...]] = ("toy",)
    checked_against: ClassVar[str] = "5.23.0"
    inert_keys: ClassVar[Mapping[str, str]] = {"colour": "it is paint", "is_decoder": "it is one anyway"}
    rules: ClassVar[Mapping[str, Rule]] = {"use_cache": Rule(one_of(True), "it must cache", "Set it to true")}

    width: int = fields.size(64, most=1 << 20)
    heads: int = fields.size(None, most=64, nullable=True)
    eps: float = fields.number(1e-6, least=0.0, most=1.0)
    act: str = fields.choice("silu", {"silu": "silu", "swish": "silu"})
    tied: bool = fields.flag(True)
    eos_token_id: Any = fields.token_ids(2)  # noqa: RUF009 - it returns a dataclass field

    def resolve(self) -> None:
        if self.heads is None:
            object.__setattr__(self, "heads", self.width // 8)

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.width % self.heads:
            yield Problem("heads", self.heads, f"does not divide width = {self.width}")


def problems(raw: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        ToyConfig.from_hf(raw, **options)
    return str(caught.value)


def test_absent_is_the_default_and_null_is_null() -> None:
    config, report = ToyConfig.from_hf({"model_type": "toy"})
    assert (config.width, config.heads, config.eos_token_id) == (64, 8, 2)
    assert report.consumed == ("model_type",)
    assert ToyConfig.from_hf({"eos_token_id": None})[0].eos_token_id is None
    assert "width = null" in problems({"width": None})


@pytest.mark.parametrize("text", ["-1", str(10**18), '"64"', "true", "NaN", "1e400", "[64]", "64.0", "{}"])
def test_a_malformed_size_is_refused_by_name(text: str) -> None:
    message = problems({"width": json.loads(text)})
    assert "width = " in message
    assert "expected an integer from 1 to 1048576" in message


def test_every_problem_is_named_in_one_error() -> None:
    message = problems(
        {"width": -1, "eps": "0.1", "act": "relu", "tied": 1, "is_causal": False, "pruned_heads": {"0": [1]}},
        file="toy/config.json",
    )
    assert message.startswith("toy/config.json")
    for key in ("width = -1", "eps = '0.1'", "act = 'relu'", "tied = 1", "is_causal = false", "pruned_heads"):
        assert key in message
    assert len(message.split("\n")) == 8
    assert "config={" in message.split("\n")[-1]


def test_what_contradicts_is_refused_beside_the_rest() -> None:
    message = problems({"width": 10, "heads": 3, "quantization_config": {"bits": 4}})
    assert "heads = 3: does not divide width = 10" in message
    assert "quantization_config" in message


def test_a_config_made_by_hand_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="width = -1"):
        ToyConfig(width=-1)
    with pytest.raises(ConfigError, match="does not divide"):
        replace(ToyConfig(width=64, heads=8), heads=7)


@pytest.mark.parametrize(
    ("key", "harmless", "harmful"),
    [
        ("quantization_config", None, {"quant_method": "fp8"}),
        ("quantization", None, {"bits": 4}),
        ("is_causal", True, False),
        ("is_causal", True, None),
        ("is_causal", True, 1),
        ("is_encoder_decoder", False, True),
        ("add_cross_attention", False, True),
        ("pruned_heads", {}, {"0": [1]}),
        ("sliding_window", None, 4096),
        ("layer_types", ["full_attention"], ["sliding_attention"]),
        ("layer_types", None, "full_attention"),
        ("layer_types", None, [["full_attention"]]),
        ("per_layer_config", {}, {"0": {"width": 3}}),
        ("text_config", None, {}),
        ("transformers_weights", None, "other.safetensors"),
        ("token_classification_bias", True, False),
        ("attribute_map", {}, {"width": "depth"}),
    ],
)
def test_keys_that_matter_for_some_values_are_never_foreign(key: str, harmless: Any, harmful: Any) -> None:
    _, report = ToyConfig.from_hf({key: harmless})
    assert key in report.inert
    message = problems({key: harmful}, strict=False)
    assert f"{key} = " in message
    assert COMMON_RULES[key].fix in message


def test_a_familys_tables_go_before_the_common_ones() -> None:
    _, report = ToyConfig.from_hf({"is_decoder": True, "colour": "red", "use_cache": True})
    assert report.inert["is_decoder"] == "it is one anyway"
    assert report.inert["colour"] == "it is paint"
    assert "use_cache = false: it must cache. Set it to true" in problems({"use_cache": False})


def test_a_foreign_key_is_reported_with_a_line_on_the_screen() -> None:
    _, report = ToyConfig.from_hf({"unsloth_version": "2024.9", "transformers_version": "4.44.2"})
    assert report.foreign == {"unsloth_version": "'2024.9'"}
    assert any("unsloth_version = '2024.9'" in line for line in report.lines())
    assert json.loads(json.dumps(report.to_json()))["foreign"] == {"unsloth_version": "'2024.9'"}


@pytest.mark.parametrize("version", ["5.24.0", "6.0.0.dev0", "5.23.1", "not a version", 5.24])
def test_a_foreign_key_of_a_newer_transformers_is_refused_until_told_otherwise(version: Any) -> None:
    raw = {"new_key": 1, "transformers_version": version}
    message = problems(raw)
    assert "new_key = 1" in message
    assert "strict=False" in message
    _, report = ToyConfig.from_hf(raw, strict=False)
    assert report.foreign == {"new_key": "1"}


@pytest.mark.parametrize("version", ["5.23.0", "5.23.0rc1", "4.57.1", None])
def test_a_foreign_key_of_a_known_transformers_is_allowed(version: str | None) -> None:
    _, report = ToyConfig.from_hf({"new_key": 1, "transformers_version": version})
    assert "new_key" in report.foreign


def test_auto_map_is_reported_and_makes_foreign_keys_doubtful() -> None:
    raw = {"auto_map": {"AutoModel": "modeling_toy.ToyModel"}}
    _, report = ToyConfig.from_hf(raw)
    assert "auto_map" in report.inert
    assert any("auto_map" in line for line in report.lines())
    assert "modelling code of its own" in problems({**raw, "new_key": 1})
    assert "new_key" in ToyConfig.from_hf({**raw, "new_key": 1}, strict=False)[1].foreign


def test_overrides_replace_keys_and_are_noted() -> None:
    config, report = ToyConfig.from_hf({"act": "relu"}, overrides={"act": "swish", "width": 32})
    assert (config.act, config.width) == ("silu", 32)
    assert "width = 32" in report.overrides
    assert "override nothing" in problems({}, overrides={"widht": 32})
    assert config.to_hf()["width"] == 32


@pytest.mark.parametrize("raw", [None, [], "x", {1: 2}])
def test_what_is_no_object_is_refused(raw: Any) -> None:
    assert "an object with string keys was expected" in problems(raw)


def test_keys_on_the_screen_carry_no_control_characters() -> None:
    raw = {"\x1b[2J": 1, "x" * 10000: 2}
    lines = "\n".join(ToyConfig.from_hf(raw)[1].lines())
    assert "\x1b" not in lines
    assert len(lines) < 600


def test_labels_come_from_names_or_from_a_count() -> None:
    assert ToyConfig.from_hf({})[0].num_labels == 2
    assert ToyConfig.from_hf({"num_labels": 3})[0].id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert ToyConfig.from_hf({"id2label": {"0": "no", "1": "yes", "2": "maybe"}})[0].num_labels == 3
    assert "id2label names 2 labels" in problems({"num_labels": 3, "id2label": {"0": "a", "1": "b"}})
    assert "num_labels = 0" in problems({"num_labels": 0})
    message = problems({"num_labels": 1, "problem_type": "single_label_classification"})
    assert "needs more than one label" in message


def test_export_keeps_what_was_read_and_updates_what_changed() -> None:
    raw = {
        "model_type": "toy",
        "width": 32,
        "act": "swish",
        "unsloth_version": "1",
        "torch_dtype": "float16",
        "auto_map": {"AutoModel": "x"},
        "quantization_config": None,
        "eos_token_id": [2, 3],
    }
    config, _ = ToyConfig.from_hf(raw, strict=False)
    kept = {key: value for key, value in raw.items() if key not in ("auto_map", "quantization_config")}
    assert config.to_hf() == kept
    changed = replace(config, width=64, heads=None, id2label={0: "no", 1: "yes"}).to_hf(
        architectures=("ToyForX",), dtype="bfloat16"
    )
    assert changed["width"] == 64
    assert changed["id2label"] == {"0": "no", "1": "yes"}
    assert changed["architectures"] == ["ToyForX"]
    assert changed["dtype"] == changed["torch_dtype"] == "bfloat16"
    assert config.raw == raw


def test_a_config_made_by_hand_exports_every_field() -> None:
    config = ToyConfig(width=48, eos_token_id=(4, 5))
    content = json.loads(json.dumps(config.to_hf()))
    assert content["eos_token_id"] == [4, 5]
    assert ToyConfig.from_hf(content)[0] == config


def test_no_key_is_in_two_common_tables() -> None:
    assert not set(COMMON_INERT) & set(COMMON_RULES)
