"""What commands print: tables, progress bars and JSON. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal


def emit_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print the named columns of the rows on stdout: drawn on a terminal, aligned text elsewhere."""
    cells = [[str(row[column]) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for line in [list(columns), *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for line in cells:
        drawn.add_row(*map(Text, line))  # as text: a name in square brackets is no markup
    Console().print(drawn)


@contextmanager
def progress_bar(
    description: str, total: float | None = None, *, unit: Literal["bytes", "items"] = "items", enabled: bool = True
) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr while the block runs; gives `advance(n)`. Silent where stderr is no terminal.

    Args:
        description: what is being done, `"Loading weights"`.
        total: how much there is in all, None where that is not known.
        unit: what is counted.
        enabled: False for no bar at all.
    """
    if not (enabled and sys.stderr.isatty()):
        yield lambda amount: None
        return
    from rich import progress as bars
    from rich.console import Console

    counted: tuple[bars.ProgressColumn, ...] = (bars.MofNCompleteColumn(),)
    if unit == "bytes":
        counted = (bars.DownloadColumn(), bars.TransferSpeedColumn())
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *counted,
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(description, total=total)
        yield lambda amount: shown.advance(task, amount)


def say(sentence: str, *, enabled: bool = True) -> None:
    """Print a sentence on stderr, where that is a terminal: what accompanies a progress bar."""
    if enabled and sys.stderr.isatty():
        print(sentence, file=sys.stderr)
