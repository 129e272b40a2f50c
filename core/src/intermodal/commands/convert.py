"""`intermodal convert`: write a checkpoint as a Hugging Face folder that transformers and vLLM read."""

from __future__ import annotations

import argparse

from intermodal.commands import arguments, console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal convert`."""
    parser.add_argument(
        "source", metavar="SRC", help="a folder or file, hf://org/name[@revision], or pkg://package/file"
    )
    parser.add_argument("destination", metavar="DST", help="the folder to write")
    parser.add_argument(
        "--max-shard-size", default="5GB", metavar="SIZE", help="split weights above this (default: 5GB)"
    )
    parser.add_argument("--json", action="store_true", help="print the files that were written, as JSON")
    arguments.add_dtype(parser)
    arguments.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, and tell what was written."""
    from intermodal.conversion import convert

    folder = convert(
        args.source,
        args.destination,
        dtype=args.dtype,
        max_shard_size=args.max_shard_size,
        **arguments.source_keywords(args),
    )
    files = [{"file": path.name, "bytes": path.stat().st_size} for path in sorted(folder.iterdir()) if path.is_file()]
    if args.json:
        console.emit_json({"folder": str(folder), "files": files})
    else:
        console.table(files, ["file", "bytes"])
    return 0
