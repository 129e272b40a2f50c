"""`intermodal plugins`: what is installed, from metadata alone; with --check, whether it can be imported."""

from __future__ import annotations

import argparse
import sys

from intermodal import catalog
from intermodal.commands import console
from intermodal.plugins import manager

_COLUMNS = ("group", "key", "distribution", "version", "API", "status")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal plugins`."""
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object for each claim")
    parser.add_argument("--check", action="store_true", help="import each plugin too, each in a process of its own")


def run(args: argparse.Namespace) -> int:
    """Print the table. With --check, the exit code is 1 where a plugin is broken."""
    rows = manager().describe(check=args.check)
    broken = {row["distribution"]: row["note"] for row in rows if row["status"] == "broken"}
    if args.json:
        console.emit_json(rows)
    else:
        console.table([{**row, "API": _api(row)} for row in rows], _COLUMNS)
        notes = {f"{row['distribution']}: {row['note']}" for row in rows if row["note"]}
        for note in sorted(notes):
            print(f"\n{note.rstrip()}")
    for name in catalog.unknown_in_allow_list():
        print(f"{catalog.ALLOW_LIST} names {name}, which no installed plugin is called.", file=sys.stderr)
    return 1 if broken else 0


def _api(row: dict) -> str:
    """The contract a plugin was written for: its requirement on intermodal, and the API version once it is known."""
    parts = [requirement.replace(" ", "") for requirement in row["requires"]]
    if row["api"] is not None:
        parts.append(f"API {row['api']}")
    return ", ".join(parts)
