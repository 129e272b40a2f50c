"""The Jinja environment of chat templates: sandboxed, and with the names that transformers gives templates.

It imports nothing of intermodal and is meant to run in the process of `chat_worker`, which bounds time and memory.
What is bounded here as well, for systems without a memory limit, are the operators that make much out of little.
"""

from __future__ import annotations

import json
from collections.abc import Sized
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_ITEMS = 1 << 24
MAX_BITS = 1 << 16


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as chat templates expect it: blocks take their line's indentation and line break with them."""

    intercepted_binops = frozenset({"*", "**", "+"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])
        self.filters["tojson"] = to_json
        self.globals.update(
            raise_exception=raise_exception, strftime_now=strftime_now, dict=PlainDict(), namespace=PublicNamespace
        )
        del self.globals["lipsum"]  # random text of any length, and no part of any prompt

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Stop at once, where Jinja would go on with a value that renders as nothing."""
        raise SecurityError(f"access to the attribute {attribute!r} of {type(obj).__name__} is not allowed")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right`, unless the result would be huge."""
        if _huge(operator, left, right):
            raise SecurityError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)


def _huge(operator: str, left: Any, right: Any) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        bits, other = left.bit_length(), right.bit_length()
        return (bits * max(right, 1) if operator == "**" else bits + other) > MAX_BITS
    if operator == "+":
        return isinstance(left, Sized) and isinstance(right, Sized) and len(left) + len(right) > MAX_ITEMS
    count, items = (left, right) if isinstance(left, int) else (right, left)
    return isinstance(count, int) and isinstance(items, Sized) and count * len(items) > MAX_ITEMS


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the assistant wrote; here it renders as what it encloses."""

    tags = {"generation"}  # noqa: RUF012 - the type that Jinja declares

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block into a scope of its own, so that what it sets stays inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class PlainDict:
    """What templates know as `dict`: makes dicts, without being the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """As `dict`."""
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(keys, value)


class PublicNamespace(Namespace):
    """What templates know as `namespace`, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # `self` is no parameter, so that a template may name an attribute so.
        Namespace.__init__(*args, **kwargs)
        for name in dict(*args[1:], **kwargs):
            _check_public(name)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace holds no name with a leading underscore, such as {name!r}")


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The `tojson` filter: plain JSON, where Jinja's own would escape it for HTML."""
    if isinstance(indent, int) and indent > 1024:
        raise SecurityError("tojson indents by at most 1024")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> None:
    """What templates call to refuse a conversation."""
    raise TemplateError(message)


def strftime_now(pattern: str) -> str:
    """The local time now, as `pattern` says."""
    return datetime.now().strftime(pattern)
