"""adapter_config.json, key by key: each is used, known to be without effect, or refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intermodal.config.accounting import Problem, refusal
from intermodal.errors import ConfigError

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

FILE = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TASKS = {
    "CAUSAL_LM": "text-generation",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "feature-extraction",
}
"""PEFT's names of tasks, and the Hub's."""

MOST_RANK = 1 << 14
_QUANTIFIERS, _PATTERN_LENGTH, _PATTERNS = 3, 200, 10_000
_EMPTY = (None, False, "none", [], {})
_INERT = {
    "the tensors say which modules were adapted": (
        "target_modules exclude_modules layers_to_transform layers_pattern modules_to_save bias"
    ),
    "it concerns training, or how the update began": (
        "lora_dropout inference_mode eva_config corda_config lora_ga_config loftq_config runtime_config"
    ),
    "it is of the library that wrote the file": "peft_version auto_mapping megatron_core qalora_group_size",
}
_INERT_KEYS = {key for keys in _INERT.values() for key in keys.split()}
_REFUSED = {
    "lora_bias": "the update then has biases of its own",
    "layer_replication": "layers then occur several times",
    "target_parameters": "tensors of more than two axes are then adapted",
    "trainable_token_indices": "single rows of the vocabulary are then replaced",
    "alora_invocation_tokens": "the update then begins within a text",
    "use_qalora": "inputs are then pooled before the update",
    "megatron_config": "the model is then spread as Megatron does",
    "use_bdlora": "the update is then in blocks",
    "arrow_config": "several adapters are then mixed",
    "kasa_config": "the update then has singular values between its factors",
    "monteclora_config": "the update is then drawn at random",
    "velora_config": "the update is then compressed",
}
_BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")
_FIX = "Merge it with PEFT (merge_and_unload, save_pretrained), and load what that writes"


@dataclass(frozen=True)
class AdapterConfig:
    """What a LoRA adapter's file says.

    Attributes:
        base: the model it was trained on, as the file names it; `base_revision`: its revision.
        task: what for, by the Hub's name, where the file says.
        rank, alpha: of every module that no pattern names.
        rank_pattern, alpha_pattern: regular expression of a module's name → its own.
        rslora: the update counts `alpha / sqrt(rank)`, rather than `alpha / rank` (arXiv:2312.03732).
        dora: each row has a length of its own (arXiv:2402.09353).
        fan_in_fan_out: weights are stored (in, out).
        tied: a head that is tied to the embeddings stays so.
    """

    base: str | None
    base_revision: str | None
    task: str | None
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    fan_in_fan_out: bool = False
    tied: bool = False

    def rank_of(self, module: str) -> int:
        """The rank of a module's update."""
        return _matching(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What a module's update is multiplied by."""
        rank = self.rank_of(module)
        return _matching(self.alpha_pattern, module, self.alpha) / (math.sqrt(rank) if self.rslora else rank)


def read_adapter_config(repository: Repository) -> AdapterConfig:
    """Read and account for adapter_config.json.

    Raises:
        ConfigError: it is malformed, describes something else than LoRA, or has keys that are not honoured; it names
            them all.
    """
    from intermodal.checkpoints.strict_json import read_object

    raw = read_object(repository, FILE, ConfigError)
    return account(raw, f"{FILE} of {repository.uri}")


def account(raw: Mapping[str, Any], where: str) -> AdapterConfig:
    """The content of an adapter_config.json, checked.

    Args:
        raw: the content.
        where: the file, for messages.

    Raises:
        ConfigError: see `read_adapter_config`.
    """
    problems: list[Problem] = []

    def take(key: str, kind: str, good: Any, default: Any) -> Any:
        value = raw.get(key, default)
        if value is not default and not good(value):
            problems.append(Problem(key, value, f"expected {kind}"))
            return default
        return value

    method = raw.get("peft_type")
    if method != "LORA":
        problems.append(Problem("peft_type", method, f"only adapters of the kind LORA are read. {_FIX}"))
    task = raw.get("task_type")
    if task is not None and task not in TASKS:
        problems.append(Problem("task_type", task, f"expected one of {', '.join(TASKS)}"))
    beginning = raw.get("init_lora_weights")
    if beginning not in _BEGINNINGS:
        why = "the update then begins from parts taken out of the model's own weights, which are changed"
        problems.append(Problem("init_lora_weights", beginning, f"{why}. Convert it with PEFT to plain LoRA"))
    for key, why in _REFUSED.items():
        if raw.get(key) not in _EMPTY:
            problems.append(Problem(key, raw[key], f"{why}. {_FIX}"))
    flags = ("use_rslora", "use_dora", "fan_in_fan_out", "ensure_weight_tying")
    rslora, dora, swapped, tied = (take(key, "true or false", lambda v: isinstance(v, bool), False) for key in flags)
    config = AdapterConfig(
        base=take("base_model_name_or_path", "a name", lambda v: isinstance(v, str), None),
        base_revision=take("revision", "a name", lambda v: isinstance(v, str), None),
        task=TASKS.get(task) if isinstance(task, str) else None,
        rank=take("r", f"an integer from 1 to {MOST_RANK}", _is_rank, 8),
        alpha=take("lora_alpha", "a finite number", _is_number, 8),
        rank_pattern=take("rank_pattern", "an object of ranks by pattern", _patterns_of(_is_rank), None) or {},
        alpha_pattern=take("alpha_pattern", "an object of numbers by pattern", _patterns_of(_is_number), None) or {},
        rslora=rslora,
        dora=dora,
        fan_in_fan_out=swapped,
        tied=tied,
    )
    read = {"peft_type", "task_type", "init_lora_weights", "r", "lora_alpha", "rank_pattern", "alpha_pattern", *flags}
    known = read | _INERT_KEYS | _REFUSED.keys() | {"base_model_name_or_path", "revision"}
    problems += [
        Problem(key, value, f"unknown key, which may change the model. {_FIX}")
        for key, value in raw.items()
        if key not in known and value not in _EMPTY
    ]
    if problems:
        raise refusal(where, problems)
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_RANK


def _patterns_of(good: Any) -> Any:
    """A check of an object whose keys are patterns. They are applied to names, so they must be cheap to try."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and len(value) <= _PATTERNS
            and all(_is_cheap(pattern) and good(number) for pattern, number in value.items())
        )

    return check


def _is_cheap(pattern: Any) -> bool:
    """Whether a regular expression is short, has few quantifiers, and none after a group: it then cannot run long."""
    if not isinstance(pattern, str) or len(pattern) > _PATTERN_LENGTH or re.search(r"\)[*+?{]", pattern):
        return False
    if len(re.findall(r"[*+?{]", pattern)) > _QUANTIFIERS:
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _matching(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that a module's name ends with, as PEFT finds it."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
