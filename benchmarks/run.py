"""All benchmarks with one command: tables on the screen, figures and the machine's description in a JSON file.

    python benchmarks/run.py                        everything, about a quarter of an hour
    python benchmarks/run.py --only decode first    some; the others' figures in the file stay
    python benchmarks/run.py --quick                everything in small, to see that it works
    python benchmarks/run.py --full                 also checkpoints of 8 GB (in 20 GB of memory) and texts of 8,000

`python benchmarks/page.py` then makes docs/explanation/benchmarks.md of the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import decode
import dequantize
import first
import history
import load
import throughput
from common import BACKENDS, arguments, machine

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "benchmarks" / "results.json"
SUITES = ("load", "growth", "first", "decode", "history", "throughput", "dequantize")
PEERS = ("transformers", "keras-hub", "llama.cpp")

Rows = list[dict[str, Any]]


def run(suite: str, options: argparse.Namespace) -> Rows:
    """The rows of one suite, at the size that was asked for."""
    small, full = options.quick, options.full
    common: dict[str, Any] = {"cache": options.cache, "source": options.source, "runs": options.runs}

    def chosen(ways: Iterable[Any]) -> list[Any]:
        """Ours on the backends, and the peers, that were asked for."""
        return [
            w for w in ways if (w.backend in options.backends if w.what == "intermodal" else w.what in options.peers)
        ]

    if suite == "load":
        if small:
            return load.run([way for way in chosen(load.WAYS) if way.layout == "aligned"], **common)
        times = load.run(chosen(load.WAYS), **{**common, "runs": max(3, options.runs)})
        return times + load.run(chosen(load.MEMORY_WAYS), **common)
    if suite == "growth":
        sizes = (0.05,) if small else (0.5, 2, 8) if full else (0.5, 2)
        return load.run_growth(options.backends, cache=options.cache, sizes=sizes)
    if suite == "first":
        return first.run(chosen(first.WAYS), **common)
    if suite == "decode":
        ways = [way for way in chosen(decode.WAYS) if not small or way.storage != "bfloat16"]
        return decode.run(ways, **common, new=4 if small else decode.NEW)
    if suite == "history":
        lengths = (20,) if small else history.LENGTHS if full else history.LENGTHS[:-1]
        return history.run(chosen(history.WAYS), **common, lengths=lengths, new=24 if small else history.NEW)
    if suite == "throughput":
        ways = [way for way in chosen(throughput.WAYS) if not small or way.job in ("prefill", "embed")]
        sizes = {"sentences": 20} if small else {}
        return throughput.run(ways, **common, **sizes)
    return dequantize.run(["Q4_0"] if small else list(dequantize.TYPES), runs=1 if small else 5)


TABLES: dict[str, Callable[[Rows], list[dict[str, str]]]] = {
    "load": load.table,
    "growth": load.table,
    "first": first.table,
    "decode": decode.table,
    "history": history.table,
    "throughput": throughput.table,
    "dequantize": dequantize.table,
}


def keep(target: Path, suite: str, rows: Rows, *, quick: bool, seconds: float) -> None:
    """Put a suite's rows into the file; what another machine, or a run of another size, left there goes."""
    head = {"machine": machine(), "quick": quick}
    kept = json.loads(target.read_text()) if target.exists() else {}
    results = kept.get("results", {}) if {name: kept.get(name) for name in head} == head else {}
    results[suite] = {"date": f"{datetime.date.today()}", "seconds": round(seconds), "rows": rows}
    ordered = {name: results[name] for name in SUITES if name in results}
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    beside.write_text(json.dumps({**head, "results": ordered}, indent=1) + "\n")
    os.replace(beside, target)


def main() -> None:
    from intermodal.commands.console import table

    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS, help="of ours")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=PEERS, help="those that are not installed are left out"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="everything in small, to see that it works")
    size.add_argument("--full", action="store_true", help="larger checkpoints and longer texts too")
    parser.set_defaults(json=RESULTS)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    for suite in options.only:
        begun = time.perf_counter()
        rows = run(suite, options)
        seconds = time.perf_counter() - begun
        print(f"\n{suite} ({seconds:.0f} s)\n", flush=True)
        if rows:
            cells = TABLES[suite](rows)
            table(cells, list(cells[0]))
            keep(options.json, suite, rows, quick=options.quick, seconds=seconds)


if __name__ == "__main__":
    main()
