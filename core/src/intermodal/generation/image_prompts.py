"""Prompts and conversations with images: encoded by the model's processor, and the pixels that go with the ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from intermodal.errors import GenerationError, InputError
from intermodal.generation.prompts import EXPECTED, Prompts, begun, encode, require_tokenizer


def read_with_images(prompt: Any, model: Any, bos: int | None) -> Prompts:
    """Text that may have images: a string, `{"text": …, "images": …}`, or a list of either.

    Raises: as `prompts.read_prompts`.
    """
    if isinstance(prompt, list | tuple):
        entries = [{"text": entry} if isinstance(entry, str) else entry for entry in prompt]
        if not all(isinstance(entry, Mapping) and isinstance(entry.get("text"), str) for entry in entries):
            raise GenerationError(f"A prompt is {EXPECTED}; got a list with other things.")
        unknown = {key for entry in entries for key in entry} - {"text", "images"}
        text, images = [entry["text"] for entry in entries], [entry.get("images") for entry in entries]
    else:
        entry = {"text": prompt} if isinstance(prompt, str) else prompt
        text, images, unknown = entry["text"], entry.get("images"), set(entry) - {"text", "images"}
    if unknown:
        raise GenerationError(f"A prompt is {EXPECTED}; got a dict with {', '.join(sorted(map(str, unknown)))}.")
    form = "text" if isinstance(text, str) else "texts"
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list | tuple) or not all(isinstance(line, str) for line in texts):
        raise GenerationError("The text of a prompt is a string or a list of strings.")
    if getattr(model, "processor", None) is None:
        if any(_some(entry) for entry in (images if isinstance(images, list | tuple) else [images])):
            raise _no_processor(model)
        return Prompts(encode(list(texts), model, bos), form)
    encoded = model.processor(text, images) if texts else {"input_ids": []}
    return Prompts(begun(encoded["input_ids"], model, bos), form, inputs=_pixels(encoded))


def render_chat(model: Any, messages: Any, *arguments: Any, **options: Any) -> tuple[list[list[int]], dict[str, Any]]:
    """The ids of each conversation, and the pixels of the images in their messages.

    Raises: as `calls.chat`.
    """
    from intermodal.processing.messages import is_batch
    from intermodal.processing.processor import images_of_chat

    several = is_batch(messages)
    if any(images_of_chat(chat) for chat in (messages if several else [messages])):
        if getattr(model, "processor", None) is None:
            raise _no_processor(model)
        encoded = model.processor.apply_chat_template(messages, *arguments, **options)
        return encoded["input_ids"], _pixels(encoded)
    ids = require_tokenizer(model).apply_chat_template(messages, *arguments, **options)
    return (ids if several else [ids]), {}


def _some(entry: Any) -> bool:
    return entry is not None and not (isinstance(entry, list | tuple) and not entry)


def _pixels(encoded: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {"pixel_values": encoded["pixel_values"]} if "pixel_values" in encoded else {}


def _no_processor(model: Any) -> InputError:
    if getattr(model, "prompt_inputs", ()):
        return InputError(
            "The checkpoint has no tokenizer or no preprocessor_config.json, so images cannot be read: pass "
            "pixel_values beside input_ids, or set model.processor."
        )
    return InputError(f"This model, for {model.task}, takes no images: leave them out, or load one that does.")
