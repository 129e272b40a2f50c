"""The table of suggestions agrees with the plugins of this repository, and is the one place where core names them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "src" / "intermodal"
TABLE = CORE / "known_families.toml"
NAMES_OF_OTHER_THINGS = (
    "llama3",  # a way to scale RoPE, as transformers calls it in any family's config
    "llama.cpp",  # the program whose format GGUF is
    "LLAMA_CPP",  # that program, in the name of an environment variable
    "BertNormalizer",  # these two are classes of the tokenizers library
    "BertPreTokenizer",
)
SHORT = 3
PLUGINS = sorted(path for kind in ("plugins", "contrib") for path in ROOT.glob(f"{kind}/*/pyproject.toml"))


@pytest.mark.parametrize("pyproject", PLUGINS, ids=lambda path: path.parent.name)
def test_the_table_names_what_a_plugin_claims(pyproject):
    project = tomllib.loads(pyproject.read_text())["project"]
    table = tomllib.loads(TABLE.read_text())
    for group in ("families", "formats"):
        claimed = set(project.get("entry-points", {}).get(f"intermodal.{group}", {}))
        assert {key for key, dist in table[group].items() if dist == project["name"]} == claimed


def test_the_table_is_sorted_and_has_only_our_names():
    for keys in tomllib.loads(TABLE.read_text()).values():
        assert [*keys] == sorted(keys, key=lambda key: key.removeprefix("gguf."))
        assert all(re.fullmatch(r"intermodal-[a-z0-9-]+", dist) for dist in keys.values())


def test_core_names_no_family():
    families = {key.removeprefix("gguf.") for key in tomllib.loads(TABLE.read_text())["families"]}
    stems = {name: re.split(r"[\d_]", name)[0] for name in families}
    # the first letters of a name are looked for, where they are no everyday word's
    names = "|".join(sorted({stem if len(stem) > SHORT else rf"{name}\b" for name, stem in stems.items()}))
    allowed = "|".join(map(re.escape, NAMES_OF_OTHER_THINGS))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(CORE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(rf"\b({names})", re.sub(rf"(?<![\w-])({allowed})\b", "", line), re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
