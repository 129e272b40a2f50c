"""`generate` as KerasHub's users know it: prompt and continuation together, by the sampler and the call alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from intermodal.errors import GenerationError
from intermodal.generation.calls import bos_of, filled, pad_of
from intermodal.generation.prompts import read_prompts
from intermodal.generation.run import Run
from intermodal.generation.settings import GenerationSettings

DEFAULT_LENGTH = 1024
"""`sequence_length` of KerasHub's preprocessors: tokens of a text where a call does not say how many."""


def generate(
    model: Any, inputs: Any, max_length: int | None = None, stop_token_ids: Any = "auto", strip_prompt: bool = False
) -> Any:
    """Continue prompts, and give them back with their continuation.

    The checkpoint's generation_config.json says which tokens end a text; how they are chosen is for the model's sampler
    to say alone.

    Args:
        model: made by `CausalLMPreset.from_preset`; `model.sampler` chooses.
        inputs: a string, a list of strings, or `{"input_ids": (B, T), "attention_mask": (B, T)}` with 1 for text.
        max_length: tokens of prompt and continuation together, for each row. None: 1024, or what the context holds.
        stop_token_ids: ids that end a text; `"auto"` for the checkpoint's own; None goes on to `max_length`.
        strip_prompt: give the continuation alone.

    Returns:
        A string, or a list of them for a list, without special tokens of the tokenizer. For ids a (B, length) int64
        array, rows that ended early filled with the pad token.

    Raises:
        GenerationError: an argument is malformed, the prompt is as long as `max_length`, or the context is shorter.
        TokenizerError: the prompt is text, and the checkpoint has no tokenizer.
    """
    settings = settings_of(model, max_length, stop_token_ids)
    prompts = read_prompts(inputs, model, bos_of(model, settings))
    completions = Run(model, prompts.rows, settings).finish()
    if prompts.given is not None:
        out = filled(completions, pad_of(model, settings))
        return out if strip_prompt else np.concatenate([prompts.given, out], axis=1)
    texts = [
        model.tokenizer.decode([*([] if strip_prompt else row), *completion.ids], skip_special_tokens=True)
        for row, completion in zip(prompts.rows, completions, strict=True)
    ]
    return texts[0] if prompts.form == "text" else texts


def settings_of(model: Any, max_length: int | None, stop_token_ids: Any) -> GenerationSettings:
    """The settings of one call."""
    own = model.generation_settings or GenerationSettings.from_files(None, model.config.raw, model.tokenizer)
    if isinstance(stop_token_ids, str):
        if stop_token_ids != "auto":
            raise GenerationError(f'stop_token_ids={stop_token_ids!r}: expected "auto", None, or token ids.')
        stop_token_ids = own.eos_token_id
    if max_length is None:
        context = getattr(model.config, "max_position_embeddings", None)
        max_length = min(DEFAULT_LENGTH, context or DEFAULT_LENGTH)
    plain = GenerationSettings(pad_token_id=own.pad_token_id, bos_token_id=own.bos_token_id)
    return plain.override(max_length=max_length, eos_token_id=stop_token_ids or (), **model.sampler.settings())
