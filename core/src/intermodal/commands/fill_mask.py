"""`intermodal fill-mask`: what may stand behind the masks of texts."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal fill-mask`."""
    texts.add_texts(parser)
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="how many tokens to tell (default: 5)")
    parser.add_argument("--target", action="append", metavar="TOKEN", help="choose from these; may be repeated")


def run(args: argparse.Namespace) -> int:
    """Print the likeliest tokens of each mask."""
    given = texts.texts_of(args)
    fill = texts.load_pipeline("fill-mask", args)
    with texts.notes():
        results = list(fill(iter(given), top_k=args.top_k, targets=args.target))
    masks = [mask for result in results for mask in (result if isinstance(result[0], list) else [result])]
    columns = ("sequence", "token_str", "score")
    return texts.show(args, results, [{name: choice[name] for name in columns} for mask in masks for choice in mask])
