"""`intermodal answer`: the answer to a question, as a span of a text."""

from __future__ import annotations

import argparse
import sys

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal answer`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("question", metavar="QUESTION", help="what is asked")
    parser.add_argument("context", metavar="CONTEXT", nargs="?", help="the text; read from stdin if absent")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many answers to tell (default: 1)")
    texts.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest answers."""
    context = sys.stdin.read() if args.context is None else args.context
    ask = texts.load_pipeline("question-answering", args)
    found = ask({"question": args.question, "context": context}, top_k=args.top_k)
    results = found if isinstance(found, list) else [found]
    return texts.show(args, results, results)
