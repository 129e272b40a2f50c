"""`intermodal new`: starts the plugin of a new family from an installed one and a checkpoint's headers."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal new`."""
    parser.add_argument("name", metavar="NAME", help="of the family: config.json's model_type, in small letters")
    parser.add_argument("--like", required=True, metavar="FAMILY", help="the installed family to start from")
    parser.add_argument(
        "--from",
        dest="uri",
        metavar="URI",
        help="a checkpoint of the new family, or its model.safetensors.index.json: the weight map is written from its "
        "headers, and fields of its config.json are added",
    )
    parser.add_argument("--into", default=".", metavar="DIR", help="where to put the folder NAME (default: here)")


def run(args: argparse.Namespace) -> int:
    """Write the plugin, and tell what is left to be written."""
    from intermodal.scaffold.create import create

    folder, places = create(args.name, args.like, uri=args.uri, into=args.into)
    print(f"{folder} is a plugin like {args.like}. These places are left to be written:\n")
    print("\n".join(f"  {place}" for place in places))
    print(f"\nInstall it with `pip install -e {folder}`, and let the tests lead: `pytest -x {folder / 'tests'}`.")
    return 0
