"""`intermodal label-tokens`: the labels of words, such as names and places."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal label-tokens`."""
    texts.add_texts(parser)
    parser.add_argument(
        "--aggregation",
        default="simple",
        choices=["none", "simple", "first", "average", "max"],
        help="how tokens become words and groups (default: simple)",
    )
    parser.add_argument("--stride", type=int, metavar="N", help="cut long texts into rows that share N tokens")


def run(args: argparse.Namespace) -> int:
    """Print the labelled words of each text."""
    given = texts.texts_of(args)
    label = texts.load_pipeline("token-classification", args)
    results = label(given, aggregation_strategy=args.aggregation, stride=args.stride)
    rows = [
        {
            "text": number,
            "word": found["word"],
            "label": found.get("entity_group", found.get("entity")),
            "score": found["score"],
            "start": found["start"],
            "end": found["end"],
        }
        for number, result in enumerate(results, 1)
        for found in result
    ]
    return texts.show(args, results, rows)
