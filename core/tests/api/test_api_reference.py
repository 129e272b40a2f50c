"""docs/reference/api.md says what intermodal.api offers: every name, with its exact signature."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "api-reference"
PAGE = ROOT / "docs" / "reference" / "api.md"


def test_the_page_is_what_the_code_says():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_is_there_and_in_the_page():
    from intermodal import api

    page = PAGE.read_text(encoding="utf-8")
    for name in api.__all__:
        assert getattr(api, name, None) is not None
        assert f"**`{name}" in page or f"## `{name}`" in page, name


@pytest.fixture
def check(monkeypatch, tmp_path, capsys):
    """Give the script a page of its own, and what it says of it."""
    loader = SourceFileLoader("api_reference", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)

    def run(page: str) -> tuple[int, str]:
        (tmp_path / "api.md").write_text(page, encoding="utf-8")
        monkeypatch.setattr(module, "PAGE", tmp_path / "api.md")
        monkeypatch.setattr(sys, "argv", ["api-reference", "--check"])
        return module.main(), capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("- **`norm(name: str, width: int,", "- **`norm(name: str, size: int,"),  # another parameter
        ("least: int = 1,", "least: int = 0,"),  # another default
        ("-> list[Weight]`**", "-> tuple[Weight]`**"),  # another result
        ("- **`unfinished(", "- **`finished(what: str)`** Gone.\n- **`unfinished("),  # a name that is not there
    ],
)
def test_a_page_that_says_something_else_is_noticed(there, instead, check):
    page = PAGE.read_text(encoding="utf-8")
    assert there in page
    code, said = check(page.replace(there, instead, 1))
    assert code == 1
    assert "Run scripts/api-reference" in said
    assert check(page) == (0, "The page is current.\n")


@pytest.mark.parametrize("name", ["WeightMap", "fields.choices", "unfinished"])
def test_a_page_that_lacks_a_name_is_noticed(name, check):
    page = PAGE.read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if not line.startswith(f"- **`{name}(")]
    assert len(lines) < len(page.splitlines())
    code, said = check("\n".join(lines) + "\n")
    assert code == 1
    assert name in said
