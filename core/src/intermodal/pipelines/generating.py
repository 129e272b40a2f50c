"""What the pipelines that write text share: settings of `generate` among their keywords, and conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intermodal.errors import InputError
from intermodal.generation.settings import CONSUMED

if TYPE_CHECKING:
    import numpy as np

NEW_TOKENS = 256
"""How long a continuation is at most where neither the call nor the checkpoint says, as in transformers."""

GENERATION = frozenset({*CONSUMED, "seed"})
"""Keywords of `generate` that a call of these pipelines takes."""


def split_generation(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords that are not those of `generate`, and those that are."""
    generation = {name: value for name, value in given.items() if name in GENERATION}
    return {name: value for name, value in given.items() if name not in GENERATION}, generation


def continuations(
    model: Any,
    prompts: Sequence[Sequence[int]],
    generation: Mapping[str, Any],
    stop: str | Sequence[str] | None,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> list[list[int]]:
    """Ids of the continuation of each prompt, stop token and stop string included.

    Args:
        model: it generates.
        prompts: their ids; an empty one begins with the token that begins a text.
        generation: keywords of `generate`.
        stop: texts that end a continuation.
        inputs: what the backbone reads beside ids, such as pixels.

    Raises:
        GenerationError: a setting is malformed, or asks for more than the context holds.
        InputError: a prompt is empty, and there is no token to begin with.
    """
    from intermodal.generation.calls import bos_of, settings_of
    from intermodal.generation.prompts import check_ids, known_ids
    from intermodal.generation.run import Run

    keywords = dict(generation) if stop is None else {**generation, "stop": stop}
    settings = settings_of(model, **keywords)
    if not settings.given & {"max_length", "max_new_tokens"}:
        room = model.config.context_length - max(map(len, prompts))
        settings = settings_of(model, **keywords, max_new_tokens=max(1, min(NEW_TOKENS, room)))
    start = bos_of(model, settings)
    begun = [list(prompt) or ([] if start is None else [start]) for prompt in prompts]
    if not all(begun):
        raise InputError("A prompt has no tokens, and the checkpoint none to begin a text with: write something.")
    rows = [check_ids(row, index, known_ids(model)) for index, row in enumerate(begun)]
    return [list(completion.ids) for completion in Run(model, rows, settings, inputs=inputs).finish()]


def is_chat(item: Any) -> bool:
    """Whether an input is a conversation: a list of messages."""
    return isinstance(item, list | tuple) and bool(item) and isinstance(item[0], Mapping) and "role" in item[0]


def continues(messages: Sequence[Mapping[str, Any]], asked: bool | None) -> bool:
    """Whether the last message is gone on with, rather than answered; where nothing is asked, if it is the model's."""
    return messages[-1]["role"] == "assistant" if asked is None else asked


def answered(messages: Sequence[Mapping[str, Any]], text: str, *, goes_on: bool) -> list[Mapping[str, Any]]:
    """A conversation with what was written: a message more, or the last one grown by it."""
    if not goes_on:
        return [*messages, {"role": "assistant", "content": text}]
    last = messages[-1]
    content = last["content"]
    if isinstance(content, str):
        grown: Any = content + text
    else:
        grown = [*content[:-1], {**content[-1], "text": content[-1]["text"] + text}]
    return [*messages[:-1], {"role": last["role"], "content": grown}]
