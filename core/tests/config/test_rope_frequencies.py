"""Inverse frequencies against transformers' own, for every kind and with every parameter at odd values."""

import copy
from typing import Any

import numpy as np
import pytest
from intermodal.config import RopeParameters, inverse_frequencies
from intermodal.config.accounting import Account
from intermodal.config.rope_spelling import FLAT, rope_from_hf
from intermodal.errors import ConfigError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES: list[dict[str, Any]] = [
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "default", "rope_theta": 5003},
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.7},
    {**LLAMA3, "rope_theta": 500000.0, "original_max_position_embeddings": 8192},
    {**LLAMA3, "rope_theta": 500000.0, "factor": 32, "original_max_position_embeddings": 8192},
    {**LLAMA3, "rope_theta": 12345.6, "low_freq_factor": 0.7, "high_freq_factor": 5.3, "factor": 3.3},
    {**LLAMA3, "rope_theta": 5e3, "original_max_position_embeddings": 77},
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096},
    {"rope_type": "yarn", "rope_theta": 1e6, "factor": 2.5, "beta_fast": 20, "beta_slow": 2.5},
    {"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "attention_factor": 0.83, "truncate": False},
    {"rope_type": "yarn", "rope_theta": 5e4, "factor": 40, "mscale": 0.707, "mscale_all_dim": 1.3},
    {"rope_type": "yarn", "rope_theta": 5e4, "factor": 40, "mscale": 0.707, "beta_fast": None, "beta_slow": 0.4},
    {"rope_type": "yarn", "rope_theta": 1e4, "factor": None, "original_max_position_embeddings": 512},
    {"rope_type": "yarn", "rope_theta": 1e4, "factor": 1.0, "original_max_position_embeddings": 2},
]


def reference(parameters: dict[str, Any], head_dim: int) -> tuple[np.ndarray, float]:
    config = transformers.LlamaConfig(
        hidden_size=head_dim * 2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        rope_parameters=copy.deepcopy(parameters),
    )
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    return rotary.inv_freq.numpy(), rotary.attention_scaling


def steps_apart(left: np.ndarray, right: np.ndarray) -> int:
    """The largest distance in units in the last place."""
    return int(np.abs(left.view(np.int32).astype(np.int64) - right.view(np.int32).astype(np.int64)).max())


def ours(parameters: dict[str, Any], head_dim: int) -> tuple[np.ndarray, float]:
    account = Account({"rope_parameters": parameters}, "config.json", "5.23.0")
    rope = rope_from_hf(account, default_theta=10000.0, max_position_embeddings=2048)[FLAT]
    assert not account.problems
    return inverse_frequencies(rope, head_dim)


def rounded_power(exponents: torch.Tensor, base: float) -> torch.Tensor:
    """The true power, rounded once to float32."""
    power = np.power(np.float64(np.float32(base)), exponents.double().numpy())
    return torch.from_numpy(power.astype(np.float32))


every_case = pytest.mark.parametrize("parameters", CASES, ids=lambda case: f"{case['rope_type']}-{len(case)}")


@every_case
@pytest.mark.parametrize("head_dim", [8, 64, 96, 128])
def test_frequencies_are_transformers_own(parameters: dict[str, Any], head_dim: int) -> None:
    frequencies, scale = ours(parameters, head_dim)
    theirs, attention_scaling = reference(parameters, head_dim)
    assert frequencies.dtype == np.float32
    assert frequencies.shape == (head_dim // 2,)
    assert scale == pytest.approx(attention_scaling, rel=1e-15)
    # torch's power is off by one unit in places, and a reciprocal makes that two where it crosses a power of two.
    assert steps_apart(frequencies, theirs) <= 2


@every_case
@pytest.mark.parametrize("head_dim", [8, 64, 96, 128])
def test_frequencies_are_bitwise_equal_where_the_power_is(
    parameters: dict[str, Any], head_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "__rpow__", rounded_power)
    assert np.array_equal(ours(parameters, head_dim)[0], reference(parameters, head_dim)[0])


def test_a_part_of_the_head_is_rotated() -> None:
    rope = RopeParameters(partial_rotary_factor=0.5)
    frequencies, _ = inverse_frequencies(rope, 16)
    assert np.array_equal(frequencies, inverse_frequencies(RopeParameters(), 8)[0])


@pytest.mark.parametrize(
    ("rope", "head_dim", "named"),
    [
        (RopeParameters(), 7, "head_dim = 7"),
        (RopeParameters(partial_rotary_factor=0.1), 8, "partial_rotary_factor"),
        (RopeParameters(rope_type="linear"), 8, "factor"),
        (RopeParameters(rope_type="dynamic"), 8, "dynamic"),
    ],
)
def test_incomplete_parameters_are_refused(rope: RopeParameters, head_dim: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        inverse_frequencies(rope, head_dim)
