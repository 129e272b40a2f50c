"""Tokens a second of decoding after longer and longer texts, batch 1: what a history costs beside the weights."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import DEMO, arguments, in_process, median_of, prompt, show
from peers import OURS, Opened, Peer, files, open_peer

TITLE = "Decoding after longer texts: float32, batch 1"
LENGTHS = (128, 1024, 4096, 8000)
NEW = 32
SETTLED = 8
"""Tokens that come before any is timed: the first ones compile."""

WAYS = (*OURS, Peer("transformers", "torch"))


def run(
    ways: Sequence[Peer] = WAYS,
    *,
    cache: Path,
    source: str = DEMO,
    runs: int = 1,
    lengths: Sequence[int] = LENGTHS,
    new: int = NEW,
) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args are those of `decode.run`; `lengths`: tokens of the texts.

    Returns:
        A row for each way and length: tokens a second, and seconds until the first of them.
    """
    for way in ways:
        files(way, cache, source)

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        what, length = name.split("@")
        more = ("--cache", str(cache), "--source", source, "--lengths", length, "--new", str(new))
        return in_process(__file__, what, *more, backend=backend)

    rows = []
    for way in ways:
        keys: list[tuple[str, str | None]] = [(f"{':'.join(way)}@{length}", way.keras_backend) for length in lengths]
        figures = median_of(runs, keys, measured)
        rows += [
            {**way._asdict(), "length": length, **figures[key]}
            for length, key in zip(lengths, keys, strict=True)
            if key in figures
        ]
    return rows


def measure(way: Peer, cache: Path, source: str, length: int, new: int) -> dict[str, Any]:
    """Read a text and go on, timing each token."""
    folder = files(way, cache, source)
    opened, text = open_peer(way, folder), prompt(folder, length)
    begun = time.perf_counter()
    stamps = list(_transformers(opened, text, new) if way.what == "transformers" else _intermodal(opened, text, new))
    first, settled = stamps[0], [stamp for stamp in stamps if stamp[0] > SETTLED]
    rates = [(a[0] - b[0]) / (a[1] - b[1]) for b, a in itertools.pairwise(settled)]
    return {"tokens_per_second": statistics.median(rates), "first_seconds": first[1] - begun}


def _intermodal(opened: Opened, text: np.ndarray, new: int) -> Iterator[tuple[int, float]]:
    """How many tokens there are by when: some come at once."""
    from intermodal.generation.decoding import Decoding
    from intermodal.generation.sampling import Mode, controls

    decoding = Decoding(opened.model, text.tolist(), [new], Mode(opened.model.config.vocab_size), controls())
    made = 0
    while made < new:
        made += decoding.advance(4).shape[1]
        yield made, time.perf_counter()


def _transformers(opened: Opened, text: np.ndarray, new: int) -> Iterator[tuple[int, float]]:
    import torch
    from transformers.generation.streamers import BaseStreamer

    class Stamps(BaseStreamer):
        made: list[float]

        def __init__(self) -> None:
            self.made = []

        def put(self, value: Any) -> None:
            self.made.append(time.perf_counter())

        def end(self) -> None:
            pass

    stamps = Stamps()
    with torch.no_grad():
        tokens = torch.tensor(text, dtype=torch.long)
        opened.model.generate(tokens, max_new_tokens=new, min_new_tokens=new, do_sample=False, streamer=stamps)
    yield from enumerate(stamps.made[1:], 1)  # the prompt is put first


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A line for each way, a column for each length; the share of the shortest text's speed beside it."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    shortest: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["what"], row["backend"]
        rate = row["tokens_per_second"]
        share = rate / shortest.setdefault(key, rate)
        line = lines.setdefault(key, {"what": row["what"], "backend": row["backend"]})
        line[f"after {row['length']}, tokens/s"] = f"{rate:.1f} ({share:.0%})"
    columns = {name: "" for line in lines.values() for name in line}
    return [{**columns, **line} for line in lines.values()]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ways", nargs="+", type=lambda name: Peer(*name.split(":")), default=list(WAYS))
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--new", type=int, default=NEW, help="tokens to generate")
    args: argparse.Namespace = parser.parse_args()
    if args.way:
        way = Peer(*args.way.split(":"))
        print(json.dumps(measure(way, args.cache, args.source, args.lengths[0], args.new)))
        return
    rows = run(args.ways, cache=args.cache, source=args.source, runs=args.runs, lengths=args.lengths, new=args.new)
    show(TITLE, table(rows), args.json, rows)


if __name__ == "__main__":
    main()
