"""Tokens a second of greedy decoding at batch 1, and the share of the memory's bandwidth; beside its peers.

Every way decodes the same weights, which bfloat16 holds exactly, so that all of them should say the same.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import BACKENDS, DEMO, arguments, bandwidth, in_process, median_of, prompt, show
from peers import Peer, files, open_peer

TITLE = "Decoding: greedy, batch 1"
NEW = 48
PROMPT = 32
REPEATS = 2

OURS_STORED = ("float32", "bfloat16", "int8", "int4", "q8_0", "q4_0")

WAYS = (
    *(Peer("intermodal", backend, storage) for backend in BACKENDS for storage in OURS_STORED),
    *(Peer("transformers", "torch", storage) for storage in ("float32", "bfloat16")),
    *(Peer("keras-hub", backend) for backend in BACKENDS),
    *(Peer("llama.cpp", "ggml", storage) for storage in ("float32", "bfloat16", "q8_0", "q4_0")),
)


def run(
    ways: Sequence[Peer] = WAYS, *, cache: Path, source: str = DEMO, runs: int = 1, new: int = NEW
) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args:
        ways: what to measure.
        cache: folder for the checkpoints, which are written once.
        source: the checkpoint.
        runs: how often, in turn; the median counts.
        new: tokens to generate.

    Returns:
        A row for each way: tokens a second, `bytes` of the weights, seconds to load; `share` of the bandwidth,
        which is tokens a second times `bytes`; and whether its ids are the `same` as the first row's.
    """
    for way in ways:
        files(way, cache, source)
    limit = bandwidth()

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        return in_process(__file__, name, "--cache", str(cache), "--source", source, "--new", str(new), backend=backend)

    keys: list[tuple[str, str | None]] = [(":".join(way), way.keras_backend) for way in ways]
    figures = median_of(runs, keys, measured)
    rows = []
    for way, key in zip(ways, keys, strict=True):
        if key in figures:
            figure: dict[str, Any] = {**way._asdict(), **figures[key], "bandwidth": limit}
            rows.append({**figure, "share": figure["tokens_per_second"] * figure["bytes"] / limit})
    ids = [row.pop("ids") for row in rows]
    return [{**row, "same": own == ids[0] if own else None} for row, own in zip(rows, ids, strict=True)]


def measure(way: Peer, cache: Path, source: str, new: int) -> dict[str, Any]:
    """Decode in this process: once to compile and warm up, then a long run less a short one, the best of some."""
    path, started = files(way, cache, source), time.perf_counter()
    opened = open_peer(way, path, PROMPT + new)
    load_seconds = time.perf_counter() - started
    text = prompt(files(Peer("transformers", "torch"), cache, source), PROMPT)
    ids = opened.generate(text, new)
    times: dict[int, list[float]] = {1: [], new: []}
    for count in REPEATS * [1, new]:
        begun = time.perf_counter()
        opened.generate(text, count)
        times[count].append(time.perf_counter() - begun)
    seconds = min(times[new]) - min(times[1])
    if seconds <= 0:  # so little was generated that noise is larger: reading the prompt counts, too
        seconds = min(times[new])
    return {
        "tokens_per_second": (new - 1) / seconds,
        "bytes": opened.nbytes,
        "load_seconds": load_seconds,
        "ids": "" if ids is None else " ".join(map(str, ids[0, -new:].tolist())),
    }


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed: every figure that is a ratio is one of this run."""
    peer = {(row["what"], row["backend"], row["storage"]): row["tokens_per_second"] for row in rows}

    def over(row: dict[str, Any], *key: str) -> str:
        other = peer.get(key)  # pyright: ignore[reportArgumentType]
        return f"{row['tokens_per_second'] / other:.2f}" if other else ""

    return [
        {
            "what": row["what"],
            "backend": row["backend"],
            "stored": row["storage"],
            "tokens/s": f"{row['tokens_per_second']:.1f}",
            "of bandwidth": f"{row['share']:.0%}",
            "× own f32": over(row, row["what"], row["backend"], "float32"),
            "× transformers": over(row, "transformers", "torch", "float32"),
            "× keras-hub": over(row, "keras-hub", row["backend"], "float32"),
            "× llama.cpp f32": over(row, "llama.cpp", "ggml", "float32"),
            "same ids": {None: "", True: "yes", False: "no"}[row["same"]],
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ways", nargs="+", type=lambda name: Peer(*name.split(":")), default=list(WAYS))
    parser.add_argument("--pure", action="store_true", help="intermodal without compiled kernels")
    parser.add_argument("--new", type=int, default=NEW, help="tokens to generate")
    args: argparse.Namespace = parser.parse_args()
    if args.pure:
        os.environ["INTERMODAL_PLUGINS"] = "-native"  # the processes of the ways inherit it
    if args.way:
        print(json.dumps(measure(Peer(*args.way.split(":")), args.cache, args.source, args.new)))
        return
    rows = run(args.ways, cache=args.cache, source=args.source, runs=args.runs, new=args.new)
    show(f"{TITLE}, {args.new} tokens", table(rows), args.json, rows)


if __name__ == "__main__":
    main()
