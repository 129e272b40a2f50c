"""Kit: a plugin's package keeps to the contract of `intermodal.api`, and its README says what it supports."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from intermodal.testing.family_tests.subject import Subject
from intermodal.unfinished import FILL_IN, unfinished

CONTRACT = "intermodal.api"
UNWRITTEN = re.compile(rf"\b{unfinished.__name__}\(|{FILL_IN}")


class PackageTests:
    """The source files and the README of the distribution."""

    def test_imports_nothing_of_intermodal_but_the_api(self, subject: Subject) -> None:
        """The package uses the stable contract alone."""
        foreign = [
            f"{path}:{line}: {module}"
            for path in package_files(subject)
            for line, module in intermodal_imports(path)
            if module != CONTRACT
        ]
        assert not foreign, f"only {CONTRACT} is stable; these imports may break:\n" + "\n".join(foreign)

    def test_names_it_imports_are_in_the_api(self, subject: Subject) -> None:
        """Every name that it imports is listed there."""
        from intermodal import api

        missing = [
            f"{path}:{node.lineno}: {alias.name}"
            for path in package_files(subject)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module == CONTRACT
            for alias in node.names
            if alias.name not in api.__all__
        ]
        assert not missing, f"{CONTRACT} does not offer:\n" + "\n".join(missing)

    def test_nothing_is_left_to_be_written(self, subject: Subject) -> None:
        """No place that `intermodal new` has marked is still as it was; this is the list of those that are."""
        files = {str(path): path.read_text(encoding="utf-8") for path in package_files(subject)}
        tests = inspect.getsourcefile(subject.tests)
        if tests is not None:
            files[tests] = Path(tests).read_text(encoding="utf-8")
        files["README.md"] = readme(subject)
        left = [
            f"{path}:{number}: {line.strip()}"
            for path, text in files.items()
            for number, line in enumerate(text.splitlines(), 1)
            if UNWRITTEN.search(line)
        ]
        assert not left, "these places are left to be written:\n" + "\n".join(left)

    def test_readme_has_a_support_table(self, subject: Subject) -> None:
        """The README says what becomes of each architecture."""
        rows = [line for line in readme(subject).splitlines() if line.strip().startswith("|")]
        assert any(re.fullmatch(r"[\s|:-]+", row) for row in rows), (
            'the README has no table of what is supported (is it named in pyproject.toml, as "readme"?)'
        )
        table = "\n".join(rows)
        unnamed = [name for name in subject.architectures if name not in table]
        assert not unnamed, f"the README's table does not say what becomes of {', '.join(unnamed)}"


def readme(subject: Subject) -> str:
    """The README, from the project's folder where it is installed as editable, else from the metadata."""
    origin = json.loads(subject.distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        path = Path(url2pathname(urlsplit(origin["url"]).path)) / "README.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""
    return str(subject.distribution.metadata.json.get("description", ""))


def package_files(subject: Subject) -> list[Path]:
    """Every Python file of the plugin's packages."""
    from intermodal.catalog import FAMILIES

    packages = {entry.value.partition(".")[0] for entry in subject.distribution.entry_points if entry.group == FAMILIES}
    files: list[Path] = []
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"{package} cannot be found"
        if spec.submodule_search_locations:
            files += [path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py")]
        elif spec.origin:
            files.append(Path(spec.origin))
    assert files, f"{', '.join(packages)} has no Python files"
    return sorted(files)


def intermodal_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of intermodal in a file; `from intermodal import api` is the contract too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "intermodal":
            names = [f"intermodal.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.partition(".")[0] == "intermodal")
