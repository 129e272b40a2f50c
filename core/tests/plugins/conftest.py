"""Installs plugins for a test: real dist-info folders and modules on sys.path, as pip leaves them."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from intermodal import plugins
from intermodal.catalog import ALLOW_LIST, FAMILIES

FAMILY_MODULE = """
from intermodal.families import Family
from intermodal.hookspecs import hookimpl

@hookimpl
def intermodal_families():
    return [Family(name={name!r}, model_types={model_types!r}, config="x:C", backbone="x:B", weight_map="x:w",
                   architectures={{}}, {more})]
"""


class Site:
    """A folder of installed distributions that is on sys.path."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.modules: set[str] = set()

    def install(
        self,
        dist: str,
        code: str,
        claims: dict[str, dict[str, str]],
        *,
        version: str = "1.0",
        requires: tuple[str, ...] = ("intermodal>=0.1",),
    ) -> str:
        """Write a distribution with one module, and give that module's name.

        In `claims` (group → key → value) an empty value stands for the module.
        """
        module = dist.replace("-", "_")
        self.modules.add(module)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")
        sections = [
            f"[{group}]\n" + "".join(f"{key} = {value or module}\n" for key, value in keys.items())
            for group, keys in claims.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(sections))
        plugins.reset()
        return module

    def family(self, dist: str, *model_types: str, keys: tuple[str, ...] = (), more: str = "", **options) -> str:
        """Install a plugin with one family, which is called as its first model type."""
        code = FAMILY_MODULE.format(name=model_types[0], model_types=model_types, more=more)
        return self.install(dist, code, {FAMILIES: dict.fromkeys(keys or model_types, "")}, **options)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site folder at the front of sys.path; what was imported from it is forgotten afterwards."""
    installed = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(installed.folder))
    monkeypatch.delenv(ALLOW_LIST, raising=False)
    yield installed
    for module in installed.modules:
        sys.modules.pop(module, None)
    plugins.reset()
