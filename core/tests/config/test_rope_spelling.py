"""Every spelling of rotary parameters comes down to one normal form; contradictions and unknown kinds are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intermodal.config import RopeParameters, inverse_frequencies
from intermodal.config.accounting import Account
from intermodal.config.rope_spelling import FLAT, rope_from_hf, rope_to_hf

SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
NORMAL = RopeParameters(
    rope_type="llama3",
    rope_theta=500000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)


def read(raw: dict[str, Any], layer_kinds: tuple[str, ...] | None = None) -> tuple[dict[str, RopeParameters], Account]:
    account = Account(raw, "config.json", "5.23.0")
    kinds = rope_from_hf(account, default_theta=10000.0, max_position_embeddings=2048, layer_kinds=layer_kinds)
    return kinds, account


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    "raw",
    [
        {"rope_theta": 500000.0, "rope_scaling": SCALING},
        {"rope_theta": 500000, "rope_scaling": {**without(SCALING, "rope_type"), "type": "llama3"}},
        {"rope_theta": 500000.0, "rope_scaling": {**SCALING, "type": "llama3"}},
        {"rope_parameters": {**SCALING, "rope_theta": 500000.0}},
        {"rope_parameters": {**SCALING, "rope_theta": 500000.0}, "rope_scaling": None},
        {"rope_parameters": SCALING, "rope_theta": 500000.0},
        {"rope_parameters": {**SCALING, "rope_theta": 500000.0}, "rope_theta": 500000.0, "rope_scaling": SCALING},
        {
            "rope_theta": 500000.0,
            "rope_scaling": without(SCALING, "original_max_position_embeddings"),
            "original_max_position_embeddings": 8192,
        },
        {"rope_theta": 500000.0, "rope_scaling": {**SCALING, "rope_theta": 500000.0}, "rope_parameters": None},
    ],
)
def test_all_spellings_have_one_normal_form(raw: dict[str, Any]) -> None:
    kinds, account = read(raw)
    assert not account.problems
    assert kinds == {FLAT: NORMAL}
    assert not account.foreign


def test_nothing_given_is_the_default() -> None:
    assert read({})[0] == {FLAT: RopeParameters()}
    assert read({"rope_theta": 5e5})[0] == {FLAT: RopeParameters(rope_theta=5e5)}
    assert read({"rope_theta": 5e5, "rope_scaling": {"rope_type": "default"}})[0][FLAT].rope_theta == 5e5


def test_the_original_context_falls_back_to_the_contexts_length() -> None:
    kinds, _ = read({"rope_scaling": without(SCALING, "original_max_position_embeddings")})
    assert kinds[FLAT].original_max_position_embeddings == 2048


def test_yarns_factor_may_be_the_ratio_of_the_two_lengths() -> None:
    kinds, _ = read({"rope_scaling": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 512}})
    assert kinds[FLAT].factor == 4.0


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"rope_theta": 1e4, "rope_parameters": {**SCALING, "rope_theta": 5e5}}, "rope_theta"),
        ({"rope_scaling": {**SCALING, "type": "linear"}}, "rope_scaling.type"),
        ({"rope_scaling": SCALING, "original_max_position_embeddings": 4096}, "original_max_position_embeddings"),
        ({"rope_scaling": SCALING, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": SCALING, "rope_parameters": {**SCALING, "rope_theta": 5e5}}, "rope_scaling"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}, "partial_rotary_factor": 1.0}, "partial_rotary_factor"),
    ],
)
def test_contradicting_spellings_are_refused(raw: dict[str, Any], key: str) -> None:
    kinds, account = read(raw)
    assert kinds == {}
    assert [problem.key for problem in account.problems] == [key]


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "su", "proportional", "mrope", "axial", None, 3, ["yarn"]])
def test_other_kinds_are_refused_by_name(kind: Any) -> None:
    kinds, account = read({"rope_scaling": {"rope_type": kind, "factor": 2.0}})
    assert kinds == {}
    assert account.problems[0].key == "rope_scaling.rope_type"
    assert "default, linear, llama3, yarn" in account.problems[0].text


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"factor": 0.5}, "factor"),
        ({"factor": None}, "factor"),
        ({"factor": "8"}, "factor"),
        ({"factor": True}, "factor"),
        ({"factor": float("inf")}, "factor"),
        ({"low_freq_factor": 0}, "low_freq_factor"),
        ({"low_freq_factor": 4.0}, "high_freq_factor"),
        ({"high_freq_factor": 0.5}, "high_freq_factor"),
        ({"original_max_position_embeddings": -1}, "original_max_position_embeddings"),
        ({"original_max_position_embeddings": 8192.5}, "original_max_position_embeddings"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": None}, "rope_theta"),
    ],
)
def test_absurd_values_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    _, account = read({"rope_parameters": {**SCALING, **change}})
    assert [problem.key for problem in account.problems] == [f"rope_parameters.{key}"]


def test_missing_and_reversed_parameters_are_refused() -> None:
    _, account = read({"rope_scaling": {"type": "linear"}})
    assert str(account.problems[0]) == 'rope_scaling.factor: missing, and rope_type "linear" needs it'
    _, account = read({"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 1.0, "beta_slow": 2.0}})
    assert account.problems[0].key == "rope_scaling.beta_fast"
    _, account = read({"rope_scaling": {"type": "yarn", "factor": 2.0, "rope_theta": 1.0}})
    assert account.problems[0].key == "rope_scaling.rope_theta"
    _, account = read({"rope_scaling": "linear", "rope_parameters": [1]})
    assert [problem.key for problem in account.problems] == ["rope_parameters", "rope_scaling"]


def test_parameters_of_other_kinds_are_inert_and_unknown_ones_foreign() -> None:
    kinds, account = read({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 3.0, "finetuned": True}})
    assert kinds[FLAT] == RopeParameters(rope_type="linear", factor=2.0)
    assert "rope_scaling.beta_fast" in account.inert
    assert account.foreign == {"rope_scaling.finetuned": True}


def test_layer_kinds_may_have_parameters_of_their_own() -> None:
    kinds = ("full_attention", "sliding_attention")
    nested = {"full_attention": {**SCALING, "rope_theta": 5e5}, "sliding_attention": {"rope_type": "default"}}
    found, account = read({"rope_parameters": nested}, kinds)
    assert not account.problems
    assert found == {"full_attention": NORMAL, "sliding_attention": RopeParameters()}
    flat, _ = read({"rope_parameters": {**SCALING, "rope_theta": 5e5}}, kinds)
    assert flat == dict.fromkeys(kinds, NORMAL)
    _, account = read({"rope_parameters": {"full_attention": SCALING}}, kinds)
    assert "sliding_attention" in account.problems[0].text
    _, account = read({"rope_parameters": nested})
    assert "all layers of this family are alike" in account.problems[0].text


def test_a_kind_may_have_a_base_of_its_own_that_scaling_does_not_reach() -> None:
    kinds = ("full_attention", "sliding_attention")
    account = Account({"rope_theta": 5e5, "rope_scaling": SCALING, "near_theta": 77.0}, "config.json", "5.0.0")
    found = rope_from_hf(
        account,
        default_theta=10000.0,
        max_position_embeddings=2048,
        layer_kinds=kinds,
        own_theta={"sliding_attention": ("near_theta", 1e3)},
    )
    assert not account.problems
    assert found == {"full_attention": NORMAL, "sliding_attention": RopeParameters(rope_theta=77.0)}


@pytest.mark.parametrize(
    "rope",
    [
        RopeParameters(),
        RopeParameters(rope_theta=5e5, partial_rotary_factor=0.25),
        RopeParameters(rope_type="linear", factor=4.0),
        NORMAL,
        RopeParameters(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, truncate=False, mscale=0.5),
    ],
)
def test_what_is_written_reads_back_in_each_spelling(rope: RopeParameters) -> None:
    content = rope_to_hf(rope)
    assert read(content)[0] == {FLAT: rope}
    assert read({"rope_parameters": content["rope_parameters"]})[0] == {FLAT: rope}
    older = without(content, "rope_parameters")
    assert read(older)[0] == {FLAT: rope}
    assert replace(rope, rope_theta=7.0) != rope


_NUMBERS = st.floats(1e-9, 1e9) | st.floats(1e-9, 10) | st.floats(1, 100)
_YARN = st.fixed_dictionaries(
    {"rope_type": st.just("yarn"), "factor": st.floats(1, 1e9)},
    optional={
        "original_max_position_embeddings": st.integers(1, 1 << 31),
        "rope_theta": st.floats(1.0000001, 1e30),
        "truncate": st.booleans(),
        **dict.fromkeys(["beta_fast", "beta_slow", "mscale", "mscale_all_dim"], _NUMBERS),
    },
)
_LLAMA3 = st.fixed_dictionaries(
    {
        "rope_type": st.just("llama3"),
        "factor": st.floats(1, 1e9),
        "low_freq_factor": _NUMBERS,
        "high_freq_factor": _NUMBERS,
    },
    optional={"original_max_position_embeddings": st.integers(1, 1 << 31), "rope_theta": st.floats(1e-9, 1e30)},
)


@settings(max_examples=300, deadline=None, database=None)
@given(_YARN | _LLAMA3, st.sampled_from([2, 8, 64, 128]))
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_whatever_is_accepted_gives_finite_frequencies(parameters: dict[str, Any], head_dim: int) -> None:
    kinds, account = read({"rope_parameters": parameters})
    assert bool(kinds) != bool(account.problems)
    for rope in kinds.values():
        frequencies, factor = inverse_frequencies(rope, head_dim)
        assert np.isfinite([*frequencies, factor]).all()
