"""Edits of a module's text that keep all else as its author wrote it: marks, docstrings, imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from intermodal.unfinished import unfinished

API = "intermodal.api"
MARK = unfinished.__name__
WIDTH = 120


def with_mark(text: str, name: str, what: str) -> str:
    """The module with a call of `unfinished` as the first statement of a function: `"function"` or `"Class.method"`.

    A method that the class does not have is added, so that it overrides its base's.
    """
    tree = ast.parse(text)
    owner, _, function = name.rpartition(".")
    body = _class(tree, owner).body if owner else tree.body
    found = next((item for item in body if isinstance(item, ast.FunctionDef) and item.name == function), None)
    lines = text.splitlines()
    call = f'{MARK}("{what}")'
    if found is None:
        end = _class(tree, owner).end_lineno or len(lines)
        method = [
            "",
            f"    def {function}(self) -> None:",
            f'        """See `ModelConfig.{function}`."""',
            f"        {call}",
        ]
        lines[end:end] = method
    else:
        first = found.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        at = (first.end_lineno or first.lineno) if documented else first.lineno - 1
        lines.insert(at, " " * first.col_offset + call)
    return importing("\n".join(lines) + "\n", [MARK])


def importing(text: str, names: Iterable[str]) -> str:
    """The module with these names imported from `intermodal.api`, in the order that linters want."""
    tree = ast.parse(text)
    node = next((item for item in tree.body if isinstance(item, ast.ImportFrom) and item.module == API), None)
    wanted = {*names, *(alias.name for alias in node.names if node)} if node else {*names}
    lines = text.splitlines()
    if node is not None:
        lines[node.lineno - 1 : node.end_lineno] = import_lines(wanted)
    else:
        last = [item for item in tree.body if isinstance(item, ast.Import | ast.ImportFrom)][-1]
        at = last.end_lineno or last.lineno
        lines[at:at] = ["", *import_lines(wanted)]
    return "\n".join(lines) + "\n"


def import_lines(names: Iterable[str], module: str = API) -> list[str]:
    """`from intermodal.api import …`: constants first, then classes, then functions."""
    ordered = sorted(names, key=lambda name: ((name.upper() != name) + name[0].islower(), name))
    line = f"from {module} import {', '.join(ordered)}"
    return [line] if len(line) <= WIDTH else [f"from {module} import (", *(f"    {name}," for name in ordered), ")"]


def with_docstring(text: str, sentence: str, owner: str = "") -> str:
    """The module with another first paragraph in its docstring, or in that of a class."""
    tree = ast.parse(text)
    body = _class(tree, owner).body if owner else tree.body
    first = body[0]
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return text
    _, blank, rest = first.value.value.partition("\n\n")
    indent = " " * first.col_offset
    shown = f'{indent}"""{sentence}{blank}{rest.rstrip() if blank else ""}' + (f'\n{indent}"""' if blank else '"""')
    lines = text.splitlines()
    lines[first.lineno - 1 : first.end_lineno] = shown.splitlines()
    return "\n".join(lines) + "\n"


def quoted(text: str | None) -> str:
    """A string literal."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(items: Iterable[str]) -> str:
    """A tuple of these expressions."""
    found = list(items)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"


def own_imports(text: str, package: str) -> set[str]:
    """Modules of a package that one of its modules imports, as `module` or `folder/module`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}.")}
    return {re.sub(r"\.", "/", name) for name in found}


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == name)
