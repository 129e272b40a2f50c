"""Chat messages as users pass them: checked, and brought to the plain JSON types that a chat template may see."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.errors import TokenizerError

EXAMPLE = '[{"role": "user", "content": "Hello"}]'
MAX_DEPTH = 64

# Names under which one and the same thing, a message's reasoning, is passed around. Templates read the first.
_REASONING = ("reasoning_content", "thinking", "reasoning")


def is_batch(messages: Any) -> bool:
    """Whether `messages` is a list of conversations rather than one conversation."""
    return isinstance(messages, list | tuple) and bool(messages) and isinstance(messages[0], list | tuple)


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """A conversation as a fresh list of plain dicts, without keys whose value is None.

    Args:
        messages: dicts (or dataclasses, or pydantic models) with a `role`, and a `content` that is a string or a list
            of parts such as `{"type": "text", "text": "…"}`. `content` may be missing where the message carries
            something else, such as `tool_calls`.

    Raises:
        TokenizerError: names the message and what it lacks.
    """
    if isinstance(messages, str):
        raise TokenizerError(
            f"A chat is a list of messages such as {EXAMPLE}, got a string. Put it into a message, or call generate()."
        )
    if isinstance(messages, Mapping):
        raise TokenizerError(f"A chat is a list of messages such as {EXAMPLE}, got one dict: put it into a list.")
    if not isinstance(messages, Sequence):
        raise TokenizerError(f"A chat is a list of messages such as {EXAMPLE}, got {type(messages).__name__}.")
    if not messages:
        raise TokenizerError(f"The chat is empty: pass at least one message, such as {EXAMPLE}.")
    return [_check_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _check_message(message: Any, where: str) -> dict[str, Any]:
    plain = plain_data(message)
    if not isinstance(plain, dict):
        raise TokenizerError(f'{where} is a dict with "role" and "content", got {type(message).__name__}.')
    plain = {key: value for key, value in plain.items() if value is not None}
    if not isinstance(plain.get("role"), str) or not plain["role"]:
        raise TokenizerError(f'{where} has no "role" (a string such as "system", "user" or "assistant").')
    if "content" in plain:
        _check_content(plain["content"], f'{where}["content"]')
    elif not plain.keys() - {"role", "name"}:
        raise TokenizerError(f'{where} has no "content" (a string, or a list of parts).')
    reasoning = next((plain[key] for key in _REASONING if key in plain), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    return plain


def _check_content(content: Any, where: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list | tuple):
        raise TokenizerError(f"{where} is a string or a list of parts, got {type(content).__name__}.")
    for index, part in enumerate(content):
        if isinstance(part, str):
            continue
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise TokenizerError(f'{where}[{index}] is a dict with a "type", such as {{"type": "text", "text": "…"}}.')
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise TokenizerError(f'{where}[{index}] has the type "text", but no string under "text".')


def plain_data(value: Any, depth: int = 0) -> Any:
    """`value` in JSON's types. Objects of any other kind become their type's name, `"<Image>"`.

    A template only asks whether an image is there; its methods are not for code from a checkpoint to call.

    Raises:
        TokenizerError: it is nested more than 64 deep.
    """
    if depth > MAX_DEPTH:
        raise TokenizerError(f"Chat messages may be nested {MAX_DEPTH} deep; these go deeper, or contain themselves.")
    if value is None or type(value) in (str, int, float, bool):
        return value
    # Subclasses (enums, numpy's float64) are stripped to the type they extend.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {plain_data(key, depth + 1): plain_data(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(item, depth + 1) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_data(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return plain_data(dump(), depth + 1)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # np.bool_ is no bool
        return plain_data(value.tolist(), depth + 1)  # pyright: ignore[reportAttributeAccessIssue]
    return f"<{type(value).__name__}>"
