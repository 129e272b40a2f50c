"""Kit: keys that a config class lets through, as inert or as foreign, change nothing in transformers either."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from intermodal.testing.family_tests.subject import Subject

OTHER_VALUES: dict[str, Any] = {
    "architectures": ["AnotherModel"],
    "dtype": "float16",
    "torch_dtype": "float16",
    "transformers_version": "4.31.0",
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "experts_implementation": "eager",
    "_experts_implementation": "eager",
    "cache_implementation": "sliding_window",
    "compile_config": None,
    "output_attentions": False,
    "_output_attentions": False,
    "return_dict": True,
    "assistant_ensemble_weight": 0.5,
    "chunk_size_feed_forward": 4,
    "base_model_tp_plan": {"layers.*": "rowwise"},
    "base_model_pp_plan": {"norm": [["a"], ["b"]]},
    "base_model_ep_plan": {"layers.*": "a"},
    "base_model_fsdp_plan": {"layers.*": "a"},
    "mtp_layer_types": ["odd"],
    "ignore_keys_at_rope_validation": ["factor"],
}
"""Values of inert keys that transformers takes, where it does not take any."""

UNREADABLE = frozenset({"sub_configs", "use_return_dict", "watermarking_config"})
"""Inert keys with which transformers loads no config: properties without a setter, and one that it checks."""

FOREIGN: dict[str, Any] = {
    "unsloth_version": "2024.9",
    "rope_interleaved": True,
    "use_sliding_window": True,
    "max_window_layers": 0,
    "logit_scale": 7.0,
    "embedding_multiplier": 5.0,
    "attention_multiplier": 0.1,
    "final_logit_softcapping": 2.0,
    "query_pre_attn_scalar": 3,
    "qkv_bias": True,
    "rope_local_base_freq": 3.0,
    "no_rope_layers": [0],
    "layer_norm_eps": 0.5,
    "layer_norm_epsilon": 0.5,
    "norm_eps": 0.5,
    "activation_function": "relu",
    "n_layer": 9,
    "num_experts": 4,
    "vision_config": {"hidden_size": 3},
}
"""Keys of many models' configs; those that no table of a family mentions are foreign to it."""

Outputs = dict[str, np.ndarray]


class ConfigInertTests:
    """A key that is let through escapes every comparison of fields, so transformers is asked for its effect."""

    @pytest.mark.reference
    def test_keys_that_are_let_through_change_no_output(self, subject: Subject) -> None:
        """transformers' outputs are the same to the bit with other values of all of them, padded and not."""
        inert, _ = subject.config_class.tables()
        foreign = {key: value for key, value in FOREIGN.items() if key not in subject.config_class.known_keys()}
        values = {**_other_values(subject, inert), **foreign}
        _, report = subject.config_class.from_hf({**subject.raw(), **values}, strict=False)
        assert set(report.foreign) == set(foreign)
        weights = _model(subject, {}).state_dict()
        expected = _outputs(subject, {}, weights)
        assert expected is not None
        wrong = _effects(subject, values, weights, expected)
        assert not wrong, "\n".join(_complaint(keys, values, inert) for keys in wrong)


def _complaint(keys: tuple[str, ...], values: Mapping[str, Any], inert: Mapping[str, str]) -> str:
    key, *others = keys
    if others:
        return f"{', '.join(keys)} change transformers' outputs together, and none of them alone"
    about = f"inert ({inert[key]})" if key in inert else "foreign"
    return f"{key} is called {about}, and transformers' outputs change at {values[key]!r}"


def _effects(
    subject: Subject, values: Mapping[str, Any], weights: Mapping[str, Any], expected: Outputs
) -> list[tuple[str, ...]]:
    """The keys that change what transformers computes, alone or only together; those it refuses alone are no effect.

    They are tried all at once, and where that changes anything or is refused, in halves.
    """
    got = _outputs(subject, values, weights)
    if got is not None and _same(got, expected):
        return []
    keys = list(values)
    if len(keys) == 1:
        return [] if got is None else [(keys[0],)]
    middle = len(keys) // 2
    halves = ({key: values[key] for key in part} for part in (keys[:middle], keys[middle:]))
    found = [effect for half in halves for effect in _effects(subject, half, weights, expected)]
    return found if found or got is None else [tuple(keys)]


def _other_values(subject: Subject, inert: Mapping[str, str]) -> dict[str, Any]:
    """Another value for each inert key."""
    import transformers

    defaults = getattr(transformers, subject.architectures[0]).config_class().to_dict()
    found: dict[str, Any] = {}
    for key in sorted(set(inert) - UNREADABLE):
        match subject.tests.tiny.get(key, defaults.get(key)):
            case _ if key in OTHER_VALUES:
                found[key] = OTHER_VALUES[key]
            case bool(value):
                found[key] = not value
            case int(value):
                found[key] = 2 * value + 1
            case float(value):
                found[key] = value / 2 + 0.4
            case str(value):
                found[key] = f"not {value}"
            case _:
                found[key] = 3
    return found


def _model(subject: Subject, changes: Mapping[str, Any]) -> Any:
    """transformers' model of the tiny config with some keys changed, and random weights."""
    import transformers

    model_class: Any = getattr(transformers, subject.architectures[0])
    return model_class(model_class.config_class(**copy.deepcopy({**subject.tests.tiny, **changes}))).eval().float()


def _outputs(subject: Subject, changes: Mapping[str, Any], weights: Mapping[str, Any]) -> Outputs | None:
    """What it computes with given weights, without the positions of padding; None where it refuses a value."""
    from intermodal.testing.reference import reference_outputs

    try:
        model = _model(subject, changes)
    except ValueError:
        return None
    found: Outputs = {}
    try:
        model.load_state_dict(weights)
    except RuntimeError:  # the key adds weights, or changes their shapes
        return found
    for case, inputs in subject.cases(subject.task()).items():
        mask = inputs.get("attention_mask")
        for name, values in reference_outputs(model, **inputs).items():
            if mask is not None and values.shape[: mask.ndim] == mask.shape:
                values = values[mask.astype(bool)]
            found[f"{case}/{name}"] = values
    return found


def _same(got: Outputs, expected: Outputs) -> bool:
    """Whether all of the expected outputs are there, equal to the bit."""
    return all(name in got and np.array_equal(got[name], values) for name, values in expected.items())
