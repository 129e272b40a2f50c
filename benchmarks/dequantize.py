"""Values a second of dequantising GGUF's packed types, over gguf-py's own numpy, and whether they agree bit for bit."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gguf
import numpy as np
from common import arguments, show
from intermodal_gguf.dequantize import dequantize_into
from intermodal_gguf.types import STORAGE_TYPES

TYPES = {storage.name: storage for storage in STORAGE_TYPES.values() if storage.packed}
SHAPE = (2048, 4096)


def run(names: Sequence[str] = tuple(TYPES), *, runs: int = 5) -> list[dict[str, Any]]:
    """Dequantise random blocks of each type to float32, ours into memory that is there, as a load does.

    Returns:
        A row for each type: `seconds` and `gguf_seconds` (medians), `values`, and whether the bits are `equal`.
    """
    rows = []
    for name in names:
        storage, kind = TYPES[name], gguf.GGMLQuantizationType[name]
        columns = SHAPE[1] // storage.block * storage.size
        packed = np.random.default_rng(0).integers(0, 256, (SHAPE[0], columns), np.uint8)
        flat, out = packed.reshape(-1), np.zeros(SHAPE[0] * SHAPE[1], np.float32)

        def fetch(start: int, target: np.ndarray, flat: np.ndarray = flat) -> None:
            np.copyto(target, flat[start : start + target.size].reshape(target.shape))

        with np.errstate(all="ignore"):
            theirs, expected = _median(lambda packed=packed, kind=kind: gguf.quants.dequantize(packed, kind), runs)
        ours, _ = _median(lambda storage=storage, out=out, fetch=fetch: dequantize_into(storage, fetch, out), runs)
        equal = np.array_equal(_bits(out), _bits(expected.reshape(-1)))
        rows.append({"type": name, "seconds": ours, "gguf_seconds": theirs, "values": out.size, "equal": equal})
    return rows


def _median(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    times, result = [], work()
    for _ in range(runs):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def _bits(values: np.ndarray) -> np.ndarray:
    """The bits, any pattern of "not a number" as one: which of them comes out depends on the processor."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed."""
    return [
        {
            "type": row["type"],
            "G values/s": f"{row['values'] / row['seconds'] / 1e9:.2f}",
            "× gguf-py": f"{row['gguf_seconds'] / row['seconds']:.1f}",
            "same bits": "yes" if row["equal"] else "NO",
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    args: argparse.Namespace = parser.parse_args()
    rows = run(args.types, runs=args.runs)
    show(f"Dequantising {SHAPE[0]} × {SHAPE[1]}, median of {args.runs}", table(rows), args.json, rows)


if __name__ == "__main__":
    main()
