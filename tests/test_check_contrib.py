"""scripts/check-contrib: a family that keeps the rules passes, and each planted violation is named with its file."""

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "check-contrib"

FILES = {
    "pyproject.toml": """
        [dependency-groups]
        dev = ["intermodal-bloom"]
        [tool.uv.sources]
        intermodal-bloom = { workspace = true }
        """,
    "README.md": "| [`intermodal-bloom`](contrib/bloom/README.md) | BLOOM |\n",
    "core/src/intermodal/known_families.toml": '[families]\nbloom = "intermodal-bloom"\n',
    "contrib/README.md": "the rules\n",
    "contrib/bloom/pyproject.toml": """
        [project]
        name = "intermodal-bloom"
        version = "0.1.0"
        description = "BLOOM"
        readme = "README.md"
        requires-python = ">=3.11"
        license = "MIT"
        maintainers = [{ name = "A. N. Author" }]
        dependencies = ["intermodal>=0.1,<0.2"]
        [project.entry-points."intermodal.families"]
        bloom = "intermodal_bloom.plugin"
        [tool.intermodal]
        tier = "community"
        """,
    "contrib/bloom/README.md": (
        "# intermodal-bloom\n\n    pip install intermodal-bloom\n\n## What is read\n\n## Tried with\n\n"
        "hf://org/bloom-tiny: greedy text as transformers.\n\n## Where to look\n"
    ),
    "contrib/bloom/src/intermodal_bloom/__init__.py": '"""BLOOM."""\n',
    "contrib/bloom/src/intermodal_bloom/plugin.py": (
        '"""What is added."""\nfrom intermodal.api import Family\n\n\ndef families() -> list[Family]:\n    return []\n'
    ),
    "contrib/bloom/tests/test_bloom.py": (
        "from intermodal.testing import FamilyTests\n\n\nclass TestBloom(FamilyTests):\n    family = 'bloom'\n"
    ),
}
PYPROJECT, README = "contrib/bloom/pyproject.toml", "contrib/bloom/README.md"
PLUGIN, TESTS = "contrib/bloom/src/intermodal_bloom/plugin.py", "contrib/bloom/tests/test_bloom.py"
VIOLATIONS = [
    (PYPROJECT, "intermodal-bloom", "bloom-for-intermodal", "name is 'bloom-for-intermodal'"),
    (PYPROJECT, '"community"', '"gold"', "tier is 'gold', expected one of incubating, community"),
    (PYPROJECT, '"MIT"', '"Proprietary"', "license is 'Proprietary'"),
    (PYPROJECT, "A. N. Author", "", "no owner"),
    (PYPROJECT, "intermodal>=0.1,<0.2", "intermodal>=0.1", "expected a bounded"),
    (PYPROJECT, "intermodal>=0.1,<0.2", "numpy", "no intermodal"),
    (PYPROJECT, 'version = "0.1.0"', "", "version is missing"),
    (PYPROJECT, 'bloom = "intermodal_bloom.plugin"', "", "claims nothing"),
    (PYPROJECT, "intermodal_bloom.plugin", "intermodal_bloom.model", "entry point bloom is 'intermodal_bloom.model'"),
    (PYPROJECT, "[project]", "[project", "is no TOML"),
    (README, "pip install", "install", "does not say `pip install intermodal-bloom`"),
    (README, "## Where to look", "## Files", "has no section `## Where to look`"),
    (README, "hf://org/bloom-tiny", "a small one", "names no published checkpoint"),
    (README, "as transformers", "TODO", "says TODO"),
    (PLUGIN, '"""What is added."""', "", "has no docstring"),
    (PLUGIN, "-> list[Family]", "", "line 5: families: no type of the result"),
    (PLUGIN, "families()", "families(strict)", "line 5: families: strict without a type"),
    (PLUGIN, "intermodal.api import Family", "intermodal.families import Family", "line 2 imports intermodal.families"),
    (
        PLUGIN,
        "from intermodal.api",
        "import intermodal.config\nfrom intermodal.api",
        "line 2 imports intermodal.config",
    ),
    (PLUGIN, "return []", "return []  # FIXME", "line 6 says FIXME"),
    (PLUGIN, "return []", "return []" + "\n" * 400, "has 406 lines, at most 400"),
    (TESTS, "(FamilyTests)", "", "no test class derives from intermodal.testing.FamilyTests"),
    (TESTS, "'bloom'", "'bloom'\n    def test_variant(self): ...", "overrides test_variant of the kit"),
    (TESTS, "class", "@pytest.mark.xfail\nclass", "line 4: a test that is expected to fail"),
    ("pyproject.toml", "intermodal-bloom = { workspace = true }", "", "[tool.uv.sources] lacks intermodal-bloom"),
    ("pyproject.toml", '["intermodal-bloom"]', "[]", "the group dev lacks intermodal-bloom"),
    ("core/src/intermodal/known_families.toml", "bloom =", "gloom =", 'lacks "bloom" = "intermodal-bloom"'),
    ("README.md", "contrib/bloom/", "", "does not link contrib/bloom/README.md"),
]


def write(root: Path) -> None:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"^ {8}", "", text, flags=re.MULTILINE))


def run(root: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.fixture(scope="module")
def script():
    loader = SourceFileLoader("check_contrib", str(SCRIPT))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def violations(script, tmp_path):
    """Write the sound family, and give the function that checks what it has become."""
    write(tmp_path)
    return lambda: [
        (str(path.relative_to(tmp_path)), text) for path, text in script.check(tmp_path, tmp_path / "contrib" / "bloom")
    ]


def test_the_families_of_this_repository_keep_the_rules():
    code, lines = run(ROOT)
    assert code == 0, "\n".join(lines)


def test_a_family_that_keeps_every_rule_passes_and_another_fails(tmp_path):
    write(tmp_path)
    assert run(tmp_path) == (0, ["bloom: every rule is kept."])
    (tmp_path / PLUGIN).unlink()
    code, lines = run(tmp_path)
    assert code == 1
    assert lines[0].startswith(f"{PLUGIN}: missing")


@pytest.mark.parametrize(("file", "sound", "planted", "said"), VIOLATIONS, ids=[item[3] for item in VIOLATIONS])
def test_a_planted_violation_is_named(file, sound, planted, said, violations, tmp_path):
    text = (tmp_path / file).read_text()
    assert sound in text
    (tmp_path / file).write_text(text.replace(sound, planted, 1))
    assert [path for path, words in violations() if said in words] == [
        "contrib/bloom/tests" if "no test" in said else file
    ]


@pytest.mark.parametrize("file", [PYPROJECT, README, PLUGIN])
def test_a_missing_file_is_named(file, violations, tmp_path):
    (tmp_path / file).unlink()
    ((path, text),) = violations()
    assert path == file
    assert text.startswith("missing")


def test_an_incubating_family_needs_no_published_checkpoint(violations, tmp_path):
    for file, sound, other in (
        (PYPROJECT, '"community"', '"incubating"'),
        (README, "hf://org/bloom-tiny", "no real one"),
    ):
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(sound, other))
    assert violations() == []
