"""Plugins, ours and the community's, import nothing of intermodal but `intermodal.api`: the one stable contract."""

from pathlib import Path

import pytest
from intermodal.testing.family_tests.package import CONTRACT, intermodal_imports

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for kind in ("plugins", "contrib") for path in ROOT.glob(f"{kind}/*/pyproject.toml"))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_the_contract_alone(plugin: Path) -> None:
    files = sorted((plugin / "src").rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in files
        for line, module in intermodal_imports(path)
        if module != CONTRACT
    ]
    assert not found, f"only {CONTRACT} is stable:\n" + "\n".join(found)
