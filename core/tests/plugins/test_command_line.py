"""The command line's skeleton: words, exit codes, and one clear message instead of a traceback."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import metadata

import pytest
from intermodal.builtin_commands import BUILTIN
from intermodal.catalog import ALLOW_LIST, COMMANDS, FAMILIES
from intermodal.commands import TRACEBACK, main

WORD = """
from intermodal.api import Command, hookimpl

@hookimpl
def intermodal_commands():
    return [Command("greet", "say something", "greet_command")]
"""

GREET = """
from intermodal.errors import CheckpointError

def configure(parser):
    parser.add_argument("name")

def run(args):
    if args.name == "nobody":
        raise CheckpointError("nobody is there. Name somebody.")
    print("hello", args.name)
    return 5
"""


@pytest.fixture
def greet(site):
    """A plugin with the command `greet`."""
    site.install("intermodal-greet", WORD, {COMMANDS: {"greet": ""}})
    (site.folder / "greet_command.py").write_text(GREET)
    site.modules.add("greet_command")
    return site


def command_line(site, *arguments: str, **options) -> subprocess.Popen:
    path = os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-m", "intermodal", *arguments], env=environment, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_plugins_word_is_listed_and_runs(greet, capsys):
    assert main(["--help"]) == 0
    assert re.search(r"^    greet +\(from the plugin intermodal-greet 1\.0\)$", capsys.readouterr().out, re.MULTILINE)
    assert "greet_command" not in sys.modules
    assert main(["greet", "world"]) == 5
    assert capsys.readouterr().out == "hello world\n"


def test_help_names_every_built_in_word(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in BUILTIN:
        assert command.name in printed.split()
        assert command.help in printed


@pytest.mark.parametrize("arguments", [[], ["no-such-word"], ["--no-such-option"], ["greet"], ["greet", "a", "--loud"]])
def test_wrong_usage_is_exit_code_2(greet, capsys, arguments):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: intermodal")


def test_an_error_is_one_message_and_exit_code_1(greet, capsys, monkeypatch):
    assert main(["greet", "nobody"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "intermodal: error: nobody is there. Name somebody.\n")
    monkeypatch.setenv(TRACEBACK, "1")
    assert main(["greet", "nobody"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_word_whose_plugin_cannot_be_used_says_why(greet, capsys, monkeypatch):
    greet.install("intermodal-bad", "import not_there_at_all", {COMMANDS: {"bad": ""}})
    assert main(["bad"]) == 1
    assert "not_there_at_all" in capsys.readouterr().err
    monkeypatch.setenv(ALLOW_LIST, "-greet")
    assert main(["greet", "world"]) == 1
    assert "INTERMODAL_PLUGINS keeps it out" in capsys.readouterr().err


def test_a_plugin_cannot_take_over_a_built_in_word(greet, capsys):
    greet.install("intermodal-greedy", WORD, {COMMANDS: {"convert": "", "plugins": ""}})
    assert main(["convert", "a", "b"]) == 1
    assert "2 installed plugins claim command 'convert'" in capsys.readouterr().err
    assert main(["plugins"]) == 0  # the one word that has to work to find out what is wrong
    assert "conflicting" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    name, version = capsys.readouterr().out.split()
    assert name == "intermodal"
    assert version[0].isdigit()


def test_plugins_prints_a_table_or_json(greet, capsys, monkeypatch):
    greet.family("intermodal-alpha", "alpha", version="1.5", requires=("intermodal>=0.1,<9",))
    monkeypatch.setenv(ALLOW_LIST, "-zeta")
    assert main(["plugins"]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert lines[0] == ["group", "key", "distribution", "version", "API", "status"]
    assert ["families", "alpha", "intermodal-alpha", "1.5", "intermodal>=0.1,<9", "installed"] in lines
    assert ["commands", "greet", "intermodal-greet", "1.0", "intermodal>=0.1", "installed"] in lines
    assert "names zeta, which no installed plugin" in printed.err

    assert main(["plugins", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"alpha", "greet", "safetensors", "hf"} <= {row["key"] for row in rows}


def test_plugins_check_tells_the_api_version_and_what_is_broken(site, capsys, monkeypatch):
    site.family("intermodal-alpha", "alpha")
    site.install("intermodal-bad", "import not_there_at_all", {FAMILIES: {"bad": ""}})
    monkeypatch.setenv(ALLOW_LIST, "alpha,bad")
    assert main(["plugins", "--check"]) == 1
    printed = capsys.readouterr().out
    assert "intermodal>=0.1, API 1" in printed
    assert "intermodal-bad: Traceback" in printed
    monkeypatch.setenv(ALLOW_LIST, "alpha")
    assert main(["plugins", "--check"]) == 0


def test_ctrl_c_is_a_short_line_and_exit_code_130(greet, interruptible):
    (greet.folder / "greet_command.py").write_text(
        "import time\n"
        "def configure(parser):\n    pass\n"
        "def run(args):\n    print('ready', flush=True)\n    time.sleep(60)\n    return 0\n"
    )
    process = command_line(greet, "greet", stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)  # of the 60 that it sleeps
    assert (process.returncode, said) == (130, "\nInterrupted.\n")


def test_a_reader_that_goes_away_is_no_error(greet):
    (greet.folder / "greet_command.py").write_text(
        "def configure(parser):\n    pass\n"
        "def run(args):\n    for n in range(100000):\n        print('line', n)\n    return 0\n"
    )
    process = command_line(greet, "greet", stdout=subprocess.PIPE)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 141


def test_the_script_and_the_module_are_the_same_command():
    printed = subprocess.run(
        [sys.executable, "-m", "intermodal", "--version"], capture_output=True, text=True, check=True
    )
    assert printed.stdout.startswith("intermodal ")
    (script,) = metadata.entry_points(group="console_scripts", name="intermodal")
    assert script.load() is main
