"""`intermodal ask-document`: the answer to a question, in the words of a page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from intermodal.commands import texts
from intermodal.errors import InputError

MOST = 64 << 20
"""Bytes of a file of words."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal ask-document`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("image", metavar="FILE", help="an image file of the page")
    parser.add_argument("question", metavar="QUESTION", help="what is asked")
    parser.add_argument(
        "--words",
        metavar="FILE",
        help="JSON: [[word, [left, top, right, bottom]], …], boxes in thousandths of the page; without it, Tesseract "
        "reads the page",
    )
    parser.add_argument("--lang", metavar="LANG", help="languages of the page, as Tesseract names them (eng+deu)")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many answers to tell (default: 1)")
    texts.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest answers."""
    item = {"image": args.image, "question": args.question}
    if args.words is not None:
        item["word_boxes"] = _words(Path(args.words))
    ask = texts.load_pipeline("document-question-answering", args)
    results = ask(item, top_k=args.top_k, **({"lang": args.lang} if args.lang else {}))
    return texts.show(args, results, results)


def _words(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(MOST + 1)
        if len(text) > MOST:
            raise InputError(f"{path} has more than {MOST} bytes: the words of one page are expected.")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no words of a page can be read from it: {error}") from error
    if not isinstance(found, list):
        raise InputError(f"{path} holds no list: expected [[word, [left, top, right, bottom]], …].")
    return found
