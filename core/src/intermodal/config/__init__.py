"""Configs of models: reading config.json with an account of each key, and one normal form of rotary parameters."""

from intermodal.config.accounting import Account, ConfigReport, Problem, Rule, one_of
from intermodal.config.base import ModelConfig
from intermodal.config.rope import RopeParameters, inverse_frequencies
from intermodal.config.rope_spelling import FLAT, ROPE_KEYS, rope_from_hf, rope_parameters_to_hf, rope_to_hf

__all__ = [
    "FLAT",
    "ROPE_KEYS",
    "Account",
    "ConfigReport",
    "ModelConfig",
    "Problem",
    "RopeParameters",
    "Rule",
    "inverse_frequencies",
    "one_of",
    "rope_from_hf",
    "rope_parameters_to_hf",
    "rope_to_hf",
]
