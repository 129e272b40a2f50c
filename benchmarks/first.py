"""Seconds until the first token: from the start of a process, and after imports; and for a second prompt.

The demo's text is loaded in bfloat16 and computed in float32. Ours on JAX is measured with an empty cache of compiled
programs, and with what that run left there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import DEMO, arguments, in_process, median_of, prompt, show
from peers import OURS, Peer, files, open_peer

TITLE = "The first token"
WAYS = (*OURS, Peer("transformers", "torch"), Peer("keras-hub", "jax"), Peer("llama.cpp", "ggml"))
LENGTHS = 24, 41

IMPORTS = {
    "intermodal": (
        "keras",
        "intermodal.examination",
        "intermodal.generation.calls",
        "intermodal.generation.decoding",
        "intermodal.tasks.causal_lm",
    ),
    "transformers": ("transformers.models.llama.modeling_llama", "transformers.generation.utils"),
    "keras-hub": ("keras_hub",),
    "llama.cpp": ("xllamacpp",),
}


def run(ways: Sequence[Peer] = WAYS, *, cache: Path, source: str = DEMO, runs: int = 1) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args are those of `decode.run`.

    Returns:
        A row for each way, seconds: `imports` since the process began, `load`, `token` (the first), and `other`, the
        first token after a prompt of another length. `programs` says whether compiled ones were there.
    """
    for way in ways:
        files(way, cache, source)
    states = [(way, state) for way in ways for state in (("none", "kept") if _is_cached(way) else ("",))]

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        what, _, state = name.partition("@")
        if state == "none":
            kept.append(tempfile.mkdtemp(dir=scratch))
        os.environ["INTERMODAL_CACHE"] = kept[-1] if state else "off"
        begun = ("--begun", str(time.time()))
        return in_process(__file__, what, "--cache", str(cache), "--source", source, *begun, backend=backend)

    before = os.environ.get("INTERMODAL_CACHE")
    kept: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            keys: list[tuple[str, str | None]] = [(f"{':'.join(way)}@{s}", way.keras_backend) for way, s in states]
            figures = median_of(runs, keys, measured)
        finally:
            os.environ.pop("INTERMODAL_CACHE", None)
            if before is not None:
                os.environ["INTERMODAL_CACHE"] = before
    return [
        {**way._asdict(), "programs": state, **figures[key]}
        for (way, state), key in zip(states, keys, strict=True)
        if key in figures
    ]


def _is_cached(way: Peer) -> bool:
    return way.what == "intermodal" and way.backend == "jax"


def measure(way: Peer, cache: Path, source: str, begun: float) -> dict[str, float]:
    """Import, load, and generate one token, twice."""
    for module in IMPORTS[way.what]:
        importlib.import_module(module)
    imported = time.time()
    opened = open_peer(way, files(way, cache, source))
    loaded = time.time()
    stamps = [loaded]
    for length in LENGTHS:
        opened.generate(prompt(files(Peer("transformers", "torch"), cache, source), length), 1)
        stamps.append(time.time())
    return {
        "imports": imported - begun,
        "load": loaded - imported,
        "token": stamps[1] - loaded,
        "other": stamps[2] - stamps[1],
    }


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed."""
    return [
        {
            "what": row["what"],
            "backend": row["backend"],
            "compiled programs": row["programs"],
            "imports s": f"{row['imports']:.2f}",
            "load s": f"{row['load']:.2f}",
            "first token s": f"{row['token']:.2f}",
            "after imports s": f"{row['load'] + row['token']:.2f}",
            "from the start s": f"{row['imports'] + row['load'] + row['token']:.2f}",
            "prompt of another length s": f"{row['other']:.2f}",
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ways", nargs="+", type=lambda name: Peer(*name.split(":")), default=list(WAYS))
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    args: argparse.Namespace = parser.parse_args()
    if args.way:
        print(json.dumps(measure(Peer(*args.way.split(":")), args.cache, args.source, args.begun)))
        return
    rows = run(args.ways, cache=args.cache, source=args.source, runs=args.runs)
    show(TITLE, table(rows), args.json, rows)


if __name__ == "__main__":
    main()
