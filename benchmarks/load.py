"""Seconds and memory of loading a checkpoint, over one read of its bytes; beside transformers and KerasHub."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from common import BACKENDS, arguments, checkpoint, in_process, median_of, peak_bytes, read_seconds, show, weight_bytes

IDS = np.arange(3, 35, dtype="int32")[None]


def measure(way: str, folder: Path) -> dict[str, float]:
    """Load once in this process; imports are done before the clock starts."""
    load, forward = {"intermodal": _intermodal, "transformers": _transformers, "keras-hub": _keras_hub}[way]()
    before = peak_bytes()
    started = time.perf_counter()
    model = load(folder)
    loaded = time.perf_counter()
    peak = peak_bytes()
    forward(model)
    done = time.perf_counter()
    memory_first = peak_bytes() - before
    del model
    return {
        "read": min(read_seconds(folder) for _ in range(3)),  # last, because its buffer would hide the peaks
        "load": loaded - started,
        "first": done - started,
        "memory": peak - before,
        "memory_first": memory_first,
    }


def _intermodal():
    import intermodal
    import intermodal.examination
    import intermodal.tasks.causal_lm
    import keras

    intermodal_llama = __import__("intermodal_llama3.model")
    assert intermodal_llama
    ops = keras.ops

    def load(folder):
        model = intermodal.load(folder, progress=False)
        for variable in model.variables:  # asynchronous backends: wait for the last byte
            getattr(variable.value, "block_until_ready", lambda: None)()
        return model

    return load, lambda model: np.asarray(ops.convert_to_numpy(model.predict_on_batch({"input_ids": IDS})))


def _transformers():
    import torch
    import transformers
    from transformers import LlamaForCausalLM

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def load(folder):
        return LlamaForCausalLM.from_pretrained(folder, dtype="auto")

    def forward(model):
        with torch.no_grad():
            model(torch.tensor(IDS, dtype=torch.long))

    return load, forward


def _keras_hub():
    import keras_hub

    def load(folder):
        return keras_hub.models.Llama3Backbone.from_preset(str(folder))

    def forward(model):
        model.predict_on_batch({"token_ids": IDS, "padding_mask": np.ones_like(IDS)})

    return load, forward


def main() -> None:
    args = arguments(__doc__).parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.folder)))
        return
    folder = checkpoint(args.cache, args.dtype)
    size = weight_bytes(folder)
    ways = [("intermodal", name) for name in BACKENDS]
    ways += [("transformers", "torch"), ("keras-hub", "jax"), ("keras-hub", "torch")]
    figures = median_of(
        args.runs,
        ways,
        lambda way, backend: in_process(__file__, way, "--folder", str(folder), backend=backend),
    )
    rows = [
        {
            "what": way,
            "backend": backend or "",
            "load s": f"{figure['load']:.2f}",
            "× read": f"{figure['load'] / figure['read']:.2f}",
            "with first forward × read": f"{figure['first'] / figure['read']:.2f}",
            "memory × checkpoint": f"{figure['memory'] / size:.2f}",
            "after forward": f"{figure['memory_first'] / size:.2f}",
        }
        for (way, backend), figure in figures.items()
    ]
    title = f"Loading {size / 1e6:.0f} MB ({args.dtype}), median of {args.runs}"
    show(title, rows, args.json, [{"what": w, "backend": b, **f} for (w, b), f in figures.items()])


if __name__ == "__main__":
    main()
