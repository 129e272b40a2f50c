"""What the commands that run a pipeline share: texts as arguments or lines of stdin, the model, and the output."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from intermodal.commands import arguments, console
from intermodal.errors import InputError

if TYPE_CHECKING:
    from intermodal.pipelines.base import Pipeline


def add_texts(parser: argparse.ArgumentParser) -> None:
    """A checkpoint, texts, and how they are computed and printed."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="a text; without any, each line of stdin is one")
    add_common(parser)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What does not depend on the task."""
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="how many are computed at a time")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one result for each input")
    arguments.add_compute(parser)
    arguments.add_source(parser)


def texts_of(args: argparse.Namespace) -> list[str]:
    """The texts that a command is called with.

    Raises:
        InputError: there are none.
    """
    texts = args.texts or [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise InputError("There is no text: give one as an argument, or lines on stdin.")
    return texts


def load_pipeline(task: str, args: argparse.Namespace, **options: Any) -> Pipeline:
    """The pipeline of a command."""
    from intermodal.pipelines import pipeline

    with notes():
        return pipeline(
            task,
            args.uri,
            batch_size=args.batch_size,
            **arguments.compute_keywords(args),
            **arguments.source_keywords(args),
            **options,
        )


@contextmanager
def notes() -> Iterator[None]:
    """Warnings as lines on stderr while the block runs."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
        yield


def show(args: argparse.Namespace, results: Sequence[Any], rows: Iterable[Mapping[str, Any]]) -> int:
    """Print results as JSON, or as a table of rows; scores with four digits.

    Args:
        args: of the command.
        results: what JSON has.
        rows: what the table has, all with the same columns.
    """
    if args.json:
        console.emit_json(results)
        return 0
    lines = [{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    if lines:
        console.table(lines, list(lines[0]))
    return 0
