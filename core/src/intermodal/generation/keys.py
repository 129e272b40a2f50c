"""The keys of generation_config.json: what each accepts, which change nothing, and which are not implemented.

Tables only, checked against `GenerationConfig` of transformers 5.23.0; a test walks its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intermodal.config.accounting import Rule, one_of
from intermodal.config.fields import BOOLEAN, Check, integer, real

REFERENCE = "5.23.0"
MOST = (1 << 31) - 1
MAX_STOP_STRINGS = 256
MAX_STOP_LENGTH = 1024


def _ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    read = integer(-1, MOST).read
    if len(values) > 4096:
        raise ValueError(value)
    return tuple(index for index in map(read, values) if index >= 0)


def _one_id(value: Any) -> int | None:
    index = integer(-1, MOST).read(value)
    return None if index < 0 else index


def _strings(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or len(values) > MAX_STOP_STRINGS:
        raise ValueError(value)
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_STOP_LENGTH for text in values):
        raise ValueError(value)
    return tuple(values)


CONSUMED: dict[str, Check] = {
    "do_sample": BOOLEAN,
    "temperature": real(least=0.0, most=1e6),
    "top_k": integer(0, MOST),
    "top_p": real(above=0.0, most=1.0),
    "min_p": real(least=0.0, most=1.0),
    "repetition_penalty": real(above=0.0, most=1e6),
    "max_length": integer(1, MOST),
    "max_new_tokens": integer(1, MOST),
    "min_length": integer(0, MOST),
    "min_new_tokens": integer(0, MOST),
    "eos_token_id": Check("a token id or a list of them", _ids),
    "pad_token_id": Check("a token id", _one_id),
    "bos_token_id": Check("a token id", _one_id),
    "stop_strings": Check(
        f"a string or a list of at most {MAX_STOP_STRINGS} strings, each of 1 to {MAX_STOP_LENGTH} characters", _strings
    ),
}
"""Keys that are honoured, and what they accept. null is the same as absent for each."""

FOR_SAMPLING = frozenset(
    ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
)
"""Keys that change nothing while do_sample is false."""

UNSET_LENGTH = 20
"""transformers' own default of max_length. Older versions wrote it into every file, so there it means nothing."""


def _keys(groups: Mapping[str, str]) -> dict[str, str]:
    return {key: reason for reason, keys in groups.items() for key in keys.split()}


INERT: dict[str, str] = _keys(
    {
        "it says where the file is from": "transformers_version _from_model_config _commit_hash _original_object_hash",
        "the same text comes of any way to cache or compile": (
            "use_cache cache_implementation cache_config max_cache_len compile_config disable_compile low_memory"
            " prefill_chunk_size continuous_batching_config"
        ),
        "it asks for more than text to be returned": (
            "output_attentions output_hidden_states output_scores output_logits return_dict_in_generate"
        ),
        "it acts on beams, and there is one": "early_stopping length_penalty diversity_penalty",
        "it tunes assisted generation, which is not done": (
            "is_assistant num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold"
            " assistant_lookbehind target_lookbehind max_matching_ngram_size"
        ),
        "it concerns models with an encoder": "decoder_start_token_id",
        "it rescales log-probabilities that only serve to choose tokens": "renormalize_logits",
        "it acts on logits that are not finite": "remove_invalid_values",
    }
)


@dataclass(frozen=True)
class Refused:
    """A key that is not implemented: which values change nothing, and what any other would do."""

    neutral: tuple[Any, ...]
    effect: str


REFUSED: dict[str, Refused] = {
    "num_beams": Refused((1,), "beam search"),
    "num_beam_groups": Refused((1,), "beam search in groups"),
    "num_return_sequences": Refused((1,), "several texts for each prompt"),
    "constraints": Refused(([],), "constrained search"),
    "force_words_ids": Refused(([],), "constrained search"),
    "penalty_alpha": Refused((0, 0.0), "contrastive search"),
    "dola_layers": Refused((), "decoding by contrasting layers"),
    "guidance_scale": Refused((1, 1.0), "classifier-free guidance"),
    "typical_p": Refused((1, 1.0), "typical sampling"),
    "epsilon_cutoff": Refused((0, 0.0), "epsilon sampling"),
    "eta_cutoff": Refused((0, 0.0), "eta sampling"),
    "top_h": Refused((), "top-h sampling"),
    "no_repeat_ngram_size": Refused((0,), "forbidding repeated n-grams"),
    "encoder_no_repeat_ngram_size": Refused((0,), "forbidding n-grams of the encoder's input"),
    "encoder_repetition_penalty": Refused((1, 1.0), "a repetition penalty on the encoder's input"),
    "bad_words_ids": Refused(([],), "forbidding sequences of tokens"),
    "sequence_bias": Refused(({}, []), "a bias on sequences of tokens"),
    "suppress_tokens": Refused(([],), "forbidding tokens"),
    "begin_suppress_tokens": Refused(([],), "forbidding first tokens"),
    "forced_bos_token_id": Refused((), "a forced first token"),
    "forced_eos_token_id": Refused((), "a forced last token"),
    "exponential_decay_length_penalty": Refused((), "favouring the end ever more"),
    "token_healing": Refused((False,), "token healing"),
    "watermarking_config": Refused((), "watermarks"),
    "max_time": Refused((), "stopping by the clock"),
    "prompt_lookup_num_tokens": Refused((), "assisted generation from the prompt"),
    "assistant_early_exit": Refused((), "assisted generation by early exit"),
    "assistant_ensemble_weight": Refused((), "assisted generation with an ensemble"),
    "use_mtp": Refused((False,), "assisted generation by multi-token prediction"),
    "speculation_type": Refused((), "assisted generation"),
}
"""Keys that would change the text and are not implemented. null changes nothing for each."""


def is_neutral(key: str, value: Any) -> bool:
    """Whether a value of a refused key changes nothing."""
    return one_of(None, *REFUSED[key].neutral)(value)


def refusals() -> dict[str, Rule]:
    """REFUSED as the rules that an account of keys works with."""

    def rule(key: str) -> Rule:
        neutral = next(iter(REFUSED[key].neutral), None)
        return Rule(
            lambda value: is_neutral(key, value),
            f"{REFUSED[key].effect} is not implemented",
            f"Pass {key}={neutral!r} to generate without it",
        )

    return {key: rule(key) for key in REFUSED}


SEED = integer(0, (1 << 63) - 1)
