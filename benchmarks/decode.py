"""Tokens a second of greedy decoding at batch 1, and the share of the memory's bandwidth; beside its peers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from common import BACKENDS, arguments, bandwidth, checkpoint, in_process, median_of, show, weight_bytes

PROMPT = np.arange(3, 35, dtype="int32")[None]
NEW = 64


def measure(way: str, folder: Path, dtype: str) -> dict[str, float]:
    """Generate once to compile and warm up, then the difference of a long and a short run: decoding without prefill."""
    generate = {"intermodal": _intermodal, "transformers": _transformers, "keras-hub": _keras_hub}[way](folder)
    started = time.perf_counter()
    generate(NEW)
    first = time.perf_counter() - started
    generate(1)
    best = 0.0
    for _ in range(3):
        times = []
        for count in (1, NEW):
            started = time.perf_counter()
            generate(count)
            times.append(time.perf_counter() - started)
        best = max(best, (NEW - 1) / (times[1] - times[0]))
    return {"tokens_per_second": best, "cold_seconds": first}


def _intermodal(folder: Path):
    import intermodal

    model = intermodal.load(folder, progress=False)

    def generate(count):
        ids = model.generate({"input_ids": PROMPT}, max_new_tokens=count, do_sample=False, eos_token_id=[])
        assert ids.shape[1] == PROMPT.shape[1] + count

    return generate


def _transformers(folder: Path):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype="auto")
    ids = torch.tensor(PROMPT, dtype=torch.long)

    def generate(count):
        with torch.no_grad():
            model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)

    return generate


def _keras_hub(folder: Path):
    import keras_hub

    model = keras_hub.models.Llama3CausalLM(
        backbone=keras_hub.models.Llama3Backbone.from_preset(str(folder)), preprocessor=None
    )
    model.compile(sampler="greedy")

    def generate(count):
        length = PROMPT.shape[1] + count
        ids = np.zeros((1, length), "int32")
        ids[:, : PROMPT.shape[1]] = PROMPT
        mask = np.arange(length)[None] < PROMPT.shape[1]
        model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)

    return generate


def main() -> None:
    args = arguments(__doc__).parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.folder, args.dtype)))
        return
    folder = checkpoint(args.cache, args.dtype)
    size = weight_bytes(folder)
    limit = bandwidth() / size
    ways = [("intermodal", name) for name in BACKENDS]
    ways += [("transformers", "torch"), ("keras-hub", "jax"), ("keras-hub", "torch")]
    figures = median_of(
        args.runs,
        ways,
        lambda way, backend: in_process(__file__, way, "--folder", str(folder), "--dtype", args.dtype, backend=backend),
    )
    peer = figures.get(("transformers", "torch"), {}).get("tokens_per_second")
    rows = [
        {
            "what": way,
            "backend": backend or "",
            "tokens/s": f"{figure['tokens_per_second']:.1f}",
            "share of bandwidth": f"{figure['tokens_per_second'] / limit:.0%}",
            "× transformers": f"{figure['tokens_per_second'] / peer:.2f}" if peer else "",
            "first run s": f"{figure['cold_seconds']:.1f}",
        }
        for (way, backend), figure in figures.items()
    ]
    title = f"Decoding, {args.dtype}, batch 1, {NEW} tokens, limit {limit:.1f} tokens/s, median of {args.runs}"
    show(title, rows, args.json, [{"what": w, "backend": b, **f} for (w, b), f in figures.items()])


if __name__ == "__main__":
    main()
