"""`intermodal inspect`: what a checkpoint is and whether it can be loaded, from headers alone."""

from __future__ import annotations

import argparse

from intermodal.commands import arguments, console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal inspect`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("--task", help="the task it would be loaded for (default: what it was saved as)")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    arguments.add_dtype(parser)
    arguments.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found. The exit code is 1 where the checkpoint cannot be loaded."""
    from intermodal.inspection import inspect

    result = inspect(args.uri, args.task, dtype=args.dtype, **arguments.source_keywords(args))
    if args.json:
        console.emit_json(result.to_dict())
    else:
        console.table([{"": label, "value": value} for label, value in result.rows()], ["", "value"])
        if result.problem:
            print(f"\n{result.problem}")
    return 0 if result.loadable else 1
