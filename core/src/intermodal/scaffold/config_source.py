"""The config class of a new family: the model's own, with transformers' fields and defaults, and config.json's keys."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from intermodal.scaffold.python_source import quoted
from intermodal.scaffold.reference import Reference

LAYER_KINDS = ("full_attention", "sliding_attention")
LIMIT = "most=1 << 31"


def adapted(text: str, owner: str, known: frozenset[str], reference: Reference, raw: Mapping[str, Any]) -> str:
    """The module with defaults corrected, new fields added, and fields that transformers lacks pointed out.

    Args:
        text: the model's module under the new names.
        owner: the config class in it.
        known: keys that the model's config reads or knows to be inert; others are new.
        reference: what transformers declares.
        raw: config.json of a checkpoint; empty where none was given.
    """
    tree = ast.parse(text)
    node = next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == owner)
    constants = {
        ast.unparse(i.targets[0]): i.value for i in tree.body if isinstance(i, ast.Assign) and len(i.targets) == 1
    }
    lines = text.splitlines()
    edits: list[tuple[ast.expr, Any]] = []
    inserted: dict[int, list[str]] = {}
    declared = [item for item in node.body if isinstance(item, ast.AnnAssign) and _is_field(item)]
    for item in declared:
        name = ast.unparse(item.target)
        if reference.fields and not reference.reads(name) and isinstance(item.value, ast.Call):
            said = f"    # transformers' {reference.config_class} has no {name}: remove it, and what reads it."
            inserted.setdefault(item.lineno - 1, []).append(said)
        default = reference.fields.get(name, ("", ...))[1]
        if isinstance(item.value, ast.Call) and item.value.args and _is_plain(default):
            target = item.value.args[0]
            target = constants.get(target.id, target) if isinstance(target, ast.Name) else target
            if isinstance(target, ast.Constant) and (target.value, type(target.value)) != (default, type(default)):
                edits.append((target, default))
    new = list(_new_fields(known | {ast.unparse(item.target) for item in declared}, reference, raw))
    last = [item for item in declared if isinstance(item.value, ast.Call)][-1]
    inserted.setdefault(last.end_lineno or last.lineno, []).extend(new)
    for target, default in edits:
        line = lines[target.lineno - 1]
        lines[target.lineno - 1] = line[: target.col_offset] + repr(default) + line[target.end_col_offset :]
    for at in sorted(inserted, reverse=True):
        lines[at:at] = inserted[at]
    return "\n".join(lines) + "\n"


def _new_fields(known: frozenset[str] | set[str], reference: Reference, raw: Mapping[str, Any]) -> Iterator[str]:
    """Lines of fields that the model's config does not read, each kind after a comment."""
    unknown = {name: item for name, item in reference.fields.items() if name not in known}
    if unknown:
        yield f"    # Of transformers' {reference.config_class}, beside the fields above:"
        yield from (field_line(name, default, annotation) for name, (annotation, default) in unknown.items())
    others = {name: value for name, value in raw.items() if name not in known and name not in unknown}
    if others:
        yield "    # Of the checkpoint's config.json, with its values, which need not be transformers' defaults:"
        yield from (field_line(name, value, "") for name, value in others.items())


def field_line(name: str, default: Any, annotation: str) -> str:
    """The declaration of a field in the words of `api.fields`, as far as its default and annotation tell them."""
    nullable = "None" in annotation
    may_be_null = " | None" if nullable else ""
    option = ", nullable=True" if nullable else ""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"    # {name[:80]!r} = {str(default)[:60]!r} is no identifier: take it in `read_spellings`."
    if isinstance(default, bool):
        return f"    {name}: bool = fields.flag({default})"
    if name.endswith("_token_id") and isinstance(default, int | None):
        return f"    {name}: int | None = fields.token_id({default})"
    if name == "layer_types":
        kinds = ", ".join(f'"{kind}": "{kind}"' for kind in LAYER_KINDS)
        call = f"fields.choices(\n        None, {{{kinds}}}, nullable=True\n    )"
        return f"    {name}: tuple[str, ...] | None = {call}"
    if isinstance(default, int) or (default is None and annotation.startswith("int")):
        least = ", least=0" if default == 0 else ""
        return f"    {name}: int{may_be_null} = fields.size({default}, {LIMIT}{least}{option})"
    if isinstance(default, float) and not nullable:
        return f"    {name}: float = fields.number({default})"
    if isinstance(default, str) and default.isprintable():
        value = quoted(default)
        return f"    {name}: str{may_be_null} = fields.choice({value}, {{{value}: {value}}}{option})"
    kind = annotation or type(default).__name__
    return f"    # {name}: {kind}: declare it, or say in `inert_keys` why it changes nothing."


def _is_field(item: ast.AnnAssign) -> bool:
    return item.value is not None and not ast.unparse(item.annotation).startswith("ClassVar")


def _is_plain(default: Any) -> bool:
    return default is None or isinstance(default, bool | int | float | str)
