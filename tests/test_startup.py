"""Starting up is cheap: what lists and helps imports nothing that computes, downloads or draws."""

import os
import subprocess
import sys

import pytest
from intermodal.builtin_commands import BUILTIN
from intermodal.testing.reference import make_reference, save_reference

HEAVY = {"keras", "numpy", "jax", "torch", "tensorflow", "transformers", "huggingface_hub", "tokenizers", "rich"}

TINY = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}

RUN = """
import contextlib, io, sys
with contextlib.redirect_stdout(io.StringIO()) as printed:
    exec(sys.argv[1])
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported_by(code: str, path: str = "") -> set[str]:
    environment = {name: value for name, value in os.environ.items() if name != "INTERMODAL_PLUGINS"}
    environment["PYTHONPATH"] = os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", RUN, code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def command(*words: str) -> str:
    return f"from intermodal.commands import main; assert main({list(words)!r}) == 0; assert printed.getvalue()"


@pytest.fixture
def hundred_plugins(tmp_path) -> str:
    for number in range(100):
        info = tmp_path / f"intermodal_p{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: intermodal-p{number}\nVersion: 1.0\nRequires-Dist: intermodal>=0.1\n"
        )
        (info / "entry_points.txt").write_text(f"[intermodal.families]\ntype{number} = startup_bomb\n")
    (tmp_path / "startup_bomb.py").write_text("raise RuntimeError('a plugin was imported')")
    return str(tmp_path)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plugins"], ["plugins", "--json"]])
def test_commands_that_only_tell_import_nothing_heavy(words, hundred_plugins):
    modules = imported_by(command(*words), hundred_plugins)
    assert not HEAVY & modules
    assert not {name for name in modules if name.startswith("intermodal_") or name == "startup_bomb"}


@pytest.mark.parametrize("word", [command.name for command in BUILTIN])
def test_help_of_each_word_imports_nothing_heavy(word):
    assert not HEAVY & imported_by(command(word, "--help"))


def test_importing_the_package_imports_nothing_heavy():
    code = "import intermodal; dir(intermodal); assert 'load' in intermodal.__all__; assert intermodal.__version__"
    modules = imported_by(code)
    assert not {*HEAVY, "pluggy"} & modules


def test_every_official_plugin_module_is_light():
    code = (
        "from importlib import metadata\n"
        "for group in ('families', 'formats'):\n"
        "    for entry in metadata.entry_points(group='intermodal.' + group):\n"
        "        entry.load(); printed.write(entry.name)\n"
        "assert 'llama' in printed.getvalue()"
    )
    assert not HEAVY & imported_by(code)


@pytest.mark.parametrize(
    ("backend", "others"), [("jax", {"torch", "tensorflow", "transformers"}), ("torch", {"tensorflow", "transformers"})]
)
def test_loading_and_generating_import_no_other_backend(backend, others, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    save_reference(make_reference("LlamaForCausalLM", TINY, seed=1), tmp_path)
    code = (
        f"import intermodal; model = intermodal.load({str(tmp_path)!r}, progress=False)\n"
        "assert model.generate({'input_ids': [[1, 2, 3]]}, max_new_tokens=2).shape == (1, 5)"
    )
    modules = imported_by(code)
    assert backend in modules
    assert not others & modules


def test_the_public_names_are_what_they_say():
    code = (
        "import inspect, intermodal\n"
        "for name in intermodal.__all__:\n"
        "    assert getattr(intermodal, name) is not None\n"
        "import intermodal.loading, intermodal.inspection, intermodal.conversion, intermodal.sources.login\n"
        "functions = [getattr(intermodal, name) for name in ('load', 'inspect', 'convert', 'login')]\n"
        "assert all(map(inspect.isfunction, functions))\n"
        "assert issubclass(intermodal.IntermodalError, Exception)\n"
        "try:\n    intermodal.no_such_name\n"
        "except AttributeError as error:\n    assert 'no_such_name' in str(error)\n"
        "else:\n    raise AssertionError"
    )
    assert imported_by(code)
