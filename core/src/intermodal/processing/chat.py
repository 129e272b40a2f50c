"""Rendering a conversation with a checkpoint's chat template, to the same text as transformers' apply_chat_template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intermodal.errors import ChatTemplateError, TokenizerError
from intermodal.processing.chat_pool import render
from intermodal.processing.messages import check_messages, is_batch, plain_data

if TYPE_CHECKING:
    from intermodal.processing.vocabulary import Vocabulary

MAX_TEMPLATE = 1 << 20
"""Characters a template may have. The longest known, with tools and media, has some 20,000."""

# Marks where the last message ends in the rendered text. The space shows whether the template strips what it is given.
_END_OF_MESSAGE = "CONTINUE_FINAL_MESSAGE_TAG "

_NO_TEMPLATE = (
    "The tokenizer{origin} has no chat template: the checkpoint was probably not tuned for chat. Call generate() with "
    "plain text, or pass the template of the model's own documentation: chat_template=… (Jinja source)."
)

# Arguments of transformers' apply_chat_template that are not meant for the template.
_FOR_THE_CALL = frozenset(("padding", "truncation", "max_length", "padding_side", "return_tensors"))
_NOT_FOR_TEMPLATES = frozenset(("sanitize_control_tokens", "return_assistant_tokens_mask", "tokenizer_kwargs"))


def split_variables(variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of the keywords of apply_chat_template is for the tokenizer's call, and what for the template.

    Raises:
        TokenizerError: one asks for what is not supported.
    """
    asked = sorted(name for name in _NOT_FOR_TEMPLATES & variables.keys() if variables[name])
    if asked:
        raise TokenizerError(f"apply_chat_template does not support {', '.join(asked)}.")
    rest = {name: value for name, value in variables.items() if name not in _NOT_FOR_TEMPLATES}
    call = {name: rest.pop(name) for name in _FOR_THE_CALL & rest.keys()}
    return call, rest


def render_conversations(
    tokenizer: Vocabulary, conversation: Any, wanted: str | None, *, tools: Any, **arguments: Any
) -> str | list[str]:
    """A conversation as text, or a list of texts for a list of conversations.

    Args:
        tokenizer: whose templates and special tokens are used.
        conversation: see `check_messages`.
        wanted: see `select_template`.
        tools: see `render_chat`, as for further arguments.

    Raises:
        TokenizerError, ChatTemplateError: as those.
    """
    template = select_template(tokenizer.chat_templates, wanted, with_tools=tools is not None, origin=tokenizer.origin)
    several = is_batch(conversation)
    texts = [
        render_chat(template, chat, tools=tools, special_tokens=tokenizer.special_tokens, **arguments)
        for chat in (conversation if several else [conversation])
    ]
    return texts if several else texts[0]


def select_template(
    templates: Mapping[str, str], wanted: str | None, *, with_tools: bool = False, origin: str = ""
) -> str:
    """The template to render with.

    Args:
        templates: the tokenizer's own, by name; `"default"` is the one without a name.
        wanted: Jinja source or the name of one of them; None chooses `"tool_use"` with tools, `"default"` otherwise.
        with_tools: whether tools are passed.
        origin: where the tokenizer is from, for the message.

    Raises:
        TokenizerError: there is none, or several and none is the default.
    """
    if wanted is not None:
        return templates.get(wanted, wanted)
    if with_tools and "tool_use" in templates:
        return templates["tool_use"]
    if "default" in templates:
        return templates["default"]
    if templates:
        names = ", ".join(sorted(templates))
        raise TokenizerError(f"The tokenizer has several chat templates and no default: pass chat_template= {names}.")
    raise TokenizerError(_NO_TEMPLATE.format(origin=f" of {origin}" if origin else ""))


def render_chat(
    template: str,
    messages: Any,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    special_tokens: Mapping[str, str] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """The conversation as text, special tokens included.

    Text in messages that spells a special token is not escaped, as in transformers: it becomes that token when the
    result is encoded. Whoever passes on text of strangers must remove such text first.

    Args:
        template: Jinja source.
        messages: see `check_messages`.
        tools: functions the model may call, as JSON schemas.
        documents: dicts with `title` and `text`, for templates that know documents.
        add_generation_prompt: end with the header of the assistant's next message.
        continue_final_message: leave the last message open, for the model to go on with it.
        special_tokens: `bos_token` and the like, which templates write themselves.
        variables: more names for the template, such as `date_string`; they go before special tokens.

    Raises:
        ChatTemplateError: the template is malformed, refuses the messages, does not end, or tries to escape.
        TokenizerError: messages, tools or documents are not what a template can render.
    """
    if len(template) > MAX_TEMPLATE:
        raise ChatTemplateError(f"The chat template has {len(template)} characters, expected at most {MAX_TEMPLATE}.")
    chat = check_messages(messages)
    if continue_final_message and add_generation_prompt:
        raise TokenizerError("continue_final_message=True needs add_generation_prompt=False.")
    last = _mark_end(chat[-1]) if continue_final_message else None
    text = render(
        template,
        {
            **(special_tokens or {}),
            **plain_data(dict(variables or {})),
            "messages": chat,
            "tools": _dicts(tools, "tools", "a JSON schema of the function"),
            "documents": _dicts(documents, "documents", '{"title": …, "text": …}'),
            "add_generation_prompt": add_generation_prompt,
        },
    )
    return text if last is None else _cut_at_end(text, last)


def _dicts(values: Any, what: str, example: str) -> list[dict[str, Any]] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(isinstance(value, Mapping) for value in values):
        raise TokenizerError(f"{what} is a list of dicts, each {example}.")
    return plain_data(values)


def _mark_end(message: dict[str, Any]) -> str:
    """Mark the end of a message's text in place, and return that text without the mark."""
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = content + _END_OF_MESSAGE
        return content
    for part in reversed(content or []):
        if isinstance(part, dict) and isinstance(text := part.get("text"), str):
            part["text"] = text + _END_OF_MESSAGE
            return text
    raise TokenizerError("continue_final_message=True needs text in the last message.")


def _cut_at_end(text: str, message: str) -> str:
    mark = _END_OF_MESSAGE.strip()
    if mark not in text or message.strip() not in text:
        raise ChatTemplateError(
            "continue_final_message=True: the chat template leaves out the last message, or changes it."
        )
    end = text.rindex(mark)
    kept = text[:end]
    # Where the mark lost its own space, the template strips messages: then this one's trailing space goes too.
    return kept if text.startswith(_END_OF_MESSAGE, end) else kept.rstrip()
