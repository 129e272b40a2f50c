"""`generate` and `chat`: from a prompt and the arguments of a call to text, at once or in pieces.

Everything that can be wrong is found before anything is computed, also where the text is streamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intermodal.errors import GenerationError
from intermodal.generation.prompts import Prompts, check_ids, known_ids, read_prompts
from intermodal.generation.run import Run
from intermodal.generation.settings import GenerationSettings
from intermodal.generation.transcript import Completion


def generate(
    model: Any,
    prompt: Any,
    *,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    stream: bool = False,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    do_sample: bool | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    **options: Any,
) -> Any:
    """Continue a prompt. What is not given is as the checkpoint's generation_config.json says.

    Args:
        model: a causal language model.
        prompt: a string, a list of strings, or `{"input_ids": (B, T), "attention_mask": (B, T)}` with 1 for text; for a
            model that takes images also `{"text": …, "images": …}`, a list of these, and `pixel_values` beside ids.
        max_length: tokens of prompt and continuation together, for each row; not with `max_new_tokens`.
        max_new_tokens: tokens of the continuation.
        stream: return an iterator of pieces of text as they become certain; for several prompts of
            `(index, piece)`. Only for text.
        stop: strings that end the continuation, and are not part of it.
        seed: the same seed gives the same text; on every backend, as far as their logits agree.
        do_sample: draw tokens, rather than take the likeliest. None: true if `temperature`, `top_k`, `top_p` or
            `min_p` is given, false for a temperature of 0, else as the checkpoint says.
        temperature: logits are divided by it.
        top_k: draw from so many of the likeliest tokens; 0 for all.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from tokens at least this share as likely as the likeliest.
        repetition_penalty: makes tokens that are in prompt or continuation less likely, if above 1.
        eos_token_id: token or tokens that end the continuation, instead of the checkpoint's own.
        options: other keys of generation_config.json, such as `min_new_tokens` and `pad_token_id`.

    Returns:
        For text the continuation alone, a string or a list of them, without stop token or stop string. For ids a
        (B, length) int64 array of the prompts as given and their continuations with the stop token, rows that ended
        early filled with the pad token.

    Raises:
        GenerationError: arguments are malformed, contradict each other, or ask for more than the context holds.
        TokenizerError: the prompt is text, and the checkpoint has no tokenizer.
    """
    settings = settings_of(
        model,
        max_length=max_length,
        max_new_tokens=max_new_tokens,
        stop=stop,
        seed=seed,
        do_sample=do_sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        eos_token_id=eos_token_id,
        **options,
    )
    prompts = read_prompts(prompt, model, bos_of(model, settings))
    if stream and prompts.given is not None:
        raise GenerationError("stream=True gives text: pass the prompt as text, or leave out stream.")
    run = Run(model, prompts.rows, settings, stream=stream, inputs=prompts.inputs)
    return _result(run, prompts, settings, model, stream)


def chat(
    model: Any,
    messages: Any,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    chat_template: str | None = None,
    template_variables: Mapping[str, Any] | None = None,
    continue_final_message: bool = False,
    stream: bool = False,
    stop: str | Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Answer a conversation, in the checkpoint's own chat template.

    Args:
        model: a causal language model tuned for chat.
        messages: `[{"role": "user", "content": "…"}, …]`, or a list of such conversations. For a model that takes
            images, content may be a list with parts such as `{"type": "image", "image": …}`.
        tools: JSON schemas of functions that the model may call.
        documents: dicts with `title` and `text`, for templates that know documents.
        chat_template: Jinja source or the name of one of the checkpoint's templates, instead of its default.
        template_variables: more names for the template, such as `{"enable_thinking": False}`.
        continue_final_message: go on with the last message instead of answering it.
        stream: return an iterator of pieces of text; for several conversations of `(index, piece)`.
        stop: strings that end the answer, and are not part of it.
        options: as `generate` takes them.

    Returns:
        The answer, a string; a list of strings for several conversations.

    Raises:
        TokenizerError: there is no chat template, or messages are malformed.
        ChatTemplateError: the template is malformed, refuses the messages, does not end or tries to escape.
        GenerationError: as `generate` does.
    """
    from intermodal.generation.image_prompts import render_chat
    from intermodal.processing.messages import is_batch

    settings = settings_of(model, stop=stop, **options)
    ids, inputs = render_chat(
        model,
        messages,
        tools,
        documents,
        add_generation_prompt=not continue_final_message,
        continue_final_message=continue_final_message,
        chat_template=chat_template,
        return_dict=False,
        **dict(template_variables or {}),
    )
    several = is_batch(messages)
    rows = [check_ids(row, index, known_ids(model)) for index, row in enumerate(ids)]
    if not all(rows):
        raise GenerationError("The chat template renders the messages to nothing: pass another chat_template.")
    prompts = Prompts(rows, "texts" if several else "text", inputs=inputs)
    return _result(Run(model, rows, settings, stream=stream, inputs=inputs), prompts, settings, model, stream)


def settings_of(model: Any, **arguments: Any) -> GenerationSettings:
    """The checkpoint's settings with the arguments of a call.

    Whoever says how to draw wants to draw; and a temperature of 0 is how many say that they do not.
    """
    stop = arguments.pop("stop", None)
    if stop is not None:
        if arguments.get("stop_strings") is not None:
            raise GenerationError("stop and stop_strings are two names for one thing: give one of them.")
        arguments["stop_strings"] = stop
    if arguments.get("do_sample") is None:
        if arguments.get("temperature") == 0:
            arguments.update(do_sample=False, temperature=None)
        elif any(arguments.get(name) is not None for name in ("temperature", "top_k", "top_p", "min_p")):
            arguments["do_sample"] = True
    own = model.generation_settings or GenerationSettings.from_files(None, model.config.raw, model.tokenizer)
    return own.override(**arguments)


def bos_of(model: Any, settings: GenerationSettings) -> int | None:
    """What an empty prompt begins with: the token that begins a text, if there is one."""
    if settings.bos_token_id is not None:
        return settings.bos_token_id
    return getattr(model.tokenizer, "bos_token_id", None)


def _result(run: Run, prompts: Prompts, settings: GenerationSettings, model: Any, stream: bool) -> Any:
    if stream:
        return (piece for _, piece in run) if prompts.form == "text" else iter(run)
    completions = run.finish()
    if prompts.given is not None:
        return np.concatenate([prompts.given, filled(completions, pad_of(model, settings))], axis=1)
    texts = [completion.text for completion in completions]
    return texts[0] if prompts.form == "text" else texts


def filled(completions: Sequence[Completion], pad: int) -> np.ndarray:
    """Ids of completions, (B, length) int64, filled with `pad` after those that ended early."""
    out = np.full((len(completions), max(len(completion.ids) for completion in completions)), pad, np.int64)
    for row, completion in zip(out, completions, strict=True):
        row[: len(completion.ids)] = completion.ids
    return out


def pad_of(model: Any, settings: GenerationSettings) -> int:
    """What rows that ended early are filled with: the pad token, else the first stop token, else 0."""
    if settings.pad_token_id is not None:
        return settings.pad_token_id
    own = getattr(model.tokenizer, "pad_token_id", None)
    return own if own is not None else next(iter(settings.eos_token_id), 0)
