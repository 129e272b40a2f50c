"""The command line: finds the sub-command that is asked for, imports that one only, and turns errors into messages."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from intermodal import catalog
from intermodal.builtin_commands import BUILTIN
from intermodal.errors import IntermodalError
from intermodal.plugins import manager

TRACEBACK = "INTERMODAL_TRACEBACK"
"""Environment variable: `1` shows the traceback of an error that otherwise is one message."""

_INTERRUPTED = 130  # as shells report a process that SIGINT or SIGPIPE ended
_PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except SystemExit as leaving:
        if not isinstance(leaving.code, int):
            raise
        return leaving.code  # argparse's, after --help or a usage error
    except IntermodalError as error:
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exc()
        else:
            print(f"intermodal: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`. What is still in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED


def _run(argv: list[str]) -> int:
    word = next((argument for argument in argv if not argument.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="intermodal", description="Hugging Face checkpoints as Keras 3 models, and back."
    )
    parser.add_argument("--version", action="version", version=f"intermodal {catalog.running_version()}")
    words = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    helps = {command.name: command.help for command in BUILTIN}
    for name, claim in manager().commands().items():
        helps.setdefault(name, f"(from the plugin {claim})")
    module = _module(word) if word is not None and (word in helps or catalog.find(catalog.COMMANDS, word)) else None
    for name, text in helps.items():
        subparser = words.add_parser(name, help=text, description=text)
        if module is not None and name == word:
            module.configure(subparser)
    arguments = parser.parse_args(argv)
    assert module is not None  # argparse has refused every other word
    return module.run(arguments)


def _module(word: str) -> Any:
    """Import the module behind a word that exists."""
    if word == "plugins":  # has to work whatever is wrong with a plugin, were it one that claims this very word
        name = next(command.module for command in BUILTIN if command.name == word)
    else:
        name = manager().command(word).module
    return importlib.import_module(name)
