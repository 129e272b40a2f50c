"""The page of results: tables and pictures in docs/explanation, made of the JSON file that `run.py` keeps.

python benchmarks/page.py            writes docs/explanation/benchmarks.md and its pictures
python benchmarks/page.py --check    says whether they are what the file says
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plot import bars, lines
from run import RESULTS, TABLES, Rows

PAGE = RESULTS.parent.with_suffix(".md").name

HEAD = """# Benchmarks

How fast it loads, generates and embeds, and in how much memory, beside other programs and the machine's own limits.
Figures are ratios within one run on one machine; absolute times mean nothing on another.

Made of [results.json](benchmarks/results.json) by `python benchmarks/page.py`. To measure your own machine (close
everything else first), see [benchmarks/README.md](../../benchmarks/README.md):

    python benchmarks/run.py && python benchmarks/page.py
"""

SECTIONS = {
    "load": (
        "Loading",
        "SmolLM2-135M in float32 (538 MB), the page cache warm, imports left out. *× read*: over one `read()` of the "
        "file's bytes, in a new process for the first load, and in the same process for *again*. *published* files "
        "have their tensors at addresses that JAX and TensorFlow cannot use in place; *gguf* is a file of Q8_0 blocks, "
        "which stay packed, or are dequantised where float32 is asked for. Memory is the peak above what the process "
        "held before, over the weights as they are stored then; *at most*: the weights and a twentieth of them, or the "
        "weights and the file's largest tensor where they are converted. The tokenizer is in it, and of a GGUF file "
        "the metadata that it is built from, 9 MB of text.",
    ),
    "growth": ("Loading models that grow", "Checkpoints of zeros, once each. *more*: memory beyond the weights' own."),
    "first": (
        "The first token",
        "Seconds of a new process. JAX with an empty cache of compiled programs (*none*), and with what a process "
        "before left there (*kept*). The last column is the first token after a second prompt, of another length.",
    ),
    "decode": (
        "Decoding",
        "Tokens a second, greedy, one sequence. Every token reads every weight once, so the memory's bandwidth is the "
        "limit: *of bandwidth* is the share that is reached. All hold the same weights, which bfloat16 has exactly; "
        "*same ids* compares with the first row. Computed in float32, whatever they are stored in, unless another "
        "program does otherwise.",
    ),
    "history": (
        "Decoding after longer texts",
        "Tokens a second in float32, and the share of the shortest text's speed.",
    ),
    "throughput": (
        "Many tokens at once",
        "Tokens read a second from a prompt of 512; tokens generated a second for 8 and 32 prompts of 8 to 128 tokens; "
        "sentences a second embedded by all-MiniLM-L6-v2. float32.",
    ),
    "dequantize": ("Dequantising GGUF", "To float32 in memory that is there, beside gguf-py's own numpy."),
}


def build(results: dict[str, Any]) -> dict[str, str]:
    """The page and its pictures, text by path below docs/explanation."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    told = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"
    parts, made = [HEAD, paragraph(f"Machine: {told}. Python {machine['python']}; {versions}.") + "\n"], {}
    for suite, kept in results["results"].items():
        title, text = SECTIONS[suite]
        about = paragraph(f"{text} Measured on {kept['date']}.")
        parts.append(f"## {title}\n\n{about}\n")
        if suite in PICTURES:
            made[f"benchmarks/{suite}.svg"] = PICTURES[suite](kept["rows"])
            parts.append(f"![{title}](benchmarks/{suite}.svg)\n")
        parts.append(markdown(TABLES[suite](kept["rows"])))
    return {PAGE: "\n".join(parts), **made}


def paragraph(text: str) -> str:
    """Lines of the documents' width."""
    return textwrap.fill(text, 120, break_on_hyphens=False)


def markdown(cells: list[dict[str, str]]) -> str:
    """A table."""
    rows = [list(cells[0]), ["---"] * len(cells[0]), *([row[name] for name in cells[0]] for row in cells)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def named(row: dict[str, Any], *more: str) -> str:
    """A row's label."""
    return ", ".join([row["what"], row["backend"], *(str(row[name]) for name in more if row[name])])


def load_bars(rows: Rows) -> str:
    kept = [row for row in rows if row["layout"] != "gguf"]
    return bars([(named(r, "layout", "dtype"), r["load"] / r["new_read"], r["what"]) for r in kept], "× read")


def growth_lines(rows: Rows) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        more = max(0, row["memory"] - row["bytes"])  # mapped weights are not in memory before they are used
        series.setdefault(named(row), []).append((row["bytes"] / 1e9, more / 1e6))
    return lines(series, "weights, GB", "memory beyond them, MB")


def first_bars(rows: Rows) -> str:
    return bars([(named(r, "programs"), r["load"] + r["token"], r["what"]) for r in rows], "s after imports")


def decode_bars(rows: Rows) -> str:
    widest = max(row["bytes"] for row in rows if row["storage"] == "float32")
    items = [(named(row, "storage"), row["tokens_per_second"], row["what"]) for row in rows]
    return bars(items, "tokens/s", ("float32 at the memory's bandwidth", rows[0]["bandwidth"] / widest))


def history_lines(rows: Rows) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        series.setdefault(named(row), []).append((row["length"], row["tokens_per_second"]))
    return lines(series, "tokens before", "tokens/s")


def throughput_bars(rows: Rows) -> str:
    peers = {row["job"]: row["per_second"] for row in rows if row["what"] == "transformers"}
    ours = [row for row in rows if row["job"] in peers and row["what"] != "transformers"]
    items = [(f"{row['job']}, {row['backend']}", row["per_second"] / peers[row["job"]], row["backend"]) for row in ours]
    return bars(items, "× transformers", ("transformers", 1.0))


PICTURES: dict[str, Callable[[Rows], str]] = {
    "load": load_bars,
    "growth": growth_lines,
    "first": first_bars,
    "decode": decode_bars,
    "history": history_lines,
    "throughput": throughput_bars,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something differs")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the page is written beside its folder")
    args = parser.parse_args()
    differing = []
    for name, text in build(json.loads(args.json.read_text())).items():
        path = args.json.parents[1] / name
        if not path.exists() or path.read_text() != text:
            differing.append(name)
            if not args.check:
                path.write_text(text)
    if args.check and differing:
        sys.exit(f"Not what {args.json.name} says: {', '.join(differing)}. Run: python benchmarks/page.py")


if __name__ == "__main__":
    main()
