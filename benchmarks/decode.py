"""Tokens a second of greedy decoding at batch 1, and the share of the memory's bandwidth; beside its peers.

Every way decodes the same weights, which bfloat16 holds exactly, so that all of them should say the same.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BACKENDS, arguments, bandwidth, checkpoint, gguf_file, in_process, median_of, show

NEW = 64
PROMPT = 32

Generate = Callable[[int], "np.ndarray | None"]


class Way(NamedTuple):
    """One way to decode.

    Attributes:
        what: program or library. `backend`: what it computes with.
        storage: dtype of its weights, or the quantisation they get.
        prompt: tokens that it has read before.
    """

    what: str
    backend: str
    storage: str
    prompt: int = PROMPT

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return ":".join(map(str, self if self.prompt != PROMPT else self[:3]))

    @classmethod
    def of(cls, name: str) -> Way:
        """The way that a command line names."""
        what, backend, storage, *prompt = name.split(":")
        return cls(what, backend, storage, int(prompt[0]) if prompt else PROMPT)


WAYS = (
    *(Way("intermodal", backend, storage) for backend in BACKENDS for storage in ("float32", "bfloat16", "int8")),
    *(Way("transformers", "torch", storage) for storage in ("float32", "bfloat16")),
    *(Way("keras-hub", backend, "float32") for backend in BACKENDS),
    *(Way("llama.cpp", "ggml", storage) for storage in ("float32", "bfloat16", "q8_0")),
)


def run(ways: Sequence[Way] = WAYS, *, cache: Path, runs: int = 1, new: int = NEW) -> list[dict[str, Any]]:
    """Measure each way in a process of its own; those whose packages are not installed are left out.

    Args:
        ways: what to measure.
        cache: folder for the checkpoints, which are written once.
        runs: how often, in turn; the median counts.
        new: tokens to generate.

    Returns:
        A row for each way, its own figures and `share`, the share of the bandwidth: tokens a second times `bytes`,
        which one token reads.
    """
    checkpoint(cache, "bfloat16")
    for way in ways:
        if way.what == "llama.cpp":
            gguf_file(cache, way.storage)
    limit = bandwidth()

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        return in_process(__file__, name, "--cache", str(cache), "--new", str(new), backend=backend)

    keras_backends = [(way.name, way.backend if way.what in ("intermodal", "keras-hub") else None) for way in ways]
    figures = median_of(runs, keras_backends, measured)
    rows = []
    for way, key in zip(ways, keras_backends, strict=True):
        if key in figures:
            figure: dict[str, Any] = dict(figures[key])
            share = figure["tokens_per_second"] * figure["bytes"] / limit
            rows.append({**way._asdict(), **figure, "bandwidth": limit, "share": share})
    return rows


def measure(way: Way, cache: Path, new: int) -> dict[str, Any]:
    """Decode in this process: a first time to compile and warm up, then a long run less a short one, best of three."""
    make = {"intermodal": _intermodal, "transformers": _transformers, "keras-hub": _keras_hub, "llama.cpp": _llama_cpp}
    started = time.perf_counter()
    generate, nbytes = make[way.what](way, cache)
    loaded = time.perf_counter()
    generate(new)
    first = time.perf_counter()
    ids = generate(new)
    times: dict[int, list[float]] = {1: [], new: []}
    for count in 3 * [1, new]:
        begun = time.perf_counter()
        generate(count)
        times[count].append(time.perf_counter() - begun)
    seconds = min(times[new]) - min(times[1])
    return {
        "tokens_per_second": (new - 1) / seconds,
        "bytes": nbytes,
        "load_seconds": loaded - started,
        "first_seconds": first - loaded,
        "ids": "" if ids is None else " ".join(map(str, ids[0, -new:].tolist())),
    }


def _prompt(length: int) -> np.ndarray:
    """Some text's ids (1, length): every run of the benchmarks reads the same."""
    return np.random.default_rng(0).integers(3, 40_000, (1, length)).astype("int32")


def _intermodal(way: Way, cache: Path) -> tuple[Generate, int]:
    import intermodal

    quantized = way.storage.startswith("int")
    dtype = "float32" if quantized else way.storage
    model = intermodal.load(checkpoint(cache, "bfloat16"), dtype=dtype, progress=False)
    if quantized:
        model.quantize(way.storage)
    nbytes = sum(_nbytes(variable) for part in model.parts() for variable in part.by_name.values())
    prompt = _prompt(way.prompt)

    def generate(count: int) -> np.ndarray:
        return model.generate({"input_ids": prompt}, max_new_tokens=count, do_sample=False, eos_token_id=[])

    return generate, nbytes


def _nbytes(variable: Any) -> int:
    from intermodal.dtypes import numpy_dtype

    return int(np.prod(variable.shape)) * numpy_dtype(str(variable.dtype)).itemsize


def _transformers(way: Way, cache: Path) -> tuple[Generate, int]:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.LlamaForCausalLM.from_pretrained(checkpoint(cache, "bfloat16"), dtype=way.storage)
    ids = torch.tensor(_prompt(way.prompt), dtype=torch.long)

    def generate(count: int) -> np.ndarray:
        with torch.no_grad():
            return model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False).numpy()

    return generate, sum(parameter.nbytes for parameter in model.parameters())


def _keras_hub(way: Way, cache: Path) -> tuple[Generate, int]:
    import keras_hub

    folder = str(checkpoint(cache, "bfloat16"))
    backbone = keras_hub.models.Llama3Backbone.from_preset(folder, dtype=way.storage)
    model = keras_hub.models.Llama3CausalLM(backbone=backbone, preprocessor=None)
    model.compile(sampler="greedy")

    def generate(count: int) -> np.ndarray:
        length = way.prompt + count
        ids = np.zeros((1, length), "int32")
        ids[:, : way.prompt] = _prompt(way.prompt)
        mask = np.arange(length)[None] < way.prompt
        return np.asarray(model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)["token_ids"])

    return generate, sum(_nbytes(variable) for variable in model.variables)


def _llama_cpp(way: Way, cache: Path) -> tuple[Generate, int]:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf_file(cache, way.storage))
    parameters.n_ctx = way.prompt + NEW
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 2
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    request = {"prompt": _prompt(way.prompt)[0].tolist(), "temperature": 0, "cache_prompt": False, "ignore_eos": True}

    def generate(count: int) -> None:
        server.handle_completions({**request, "n_predict": count})  # gives no ids, unless it also sorts the logits

    return generate, gguf_file(cache, way.storage).stat().st_size


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed: every figure that is a ratio is one of this run."""
    peer = {(row["what"], row["backend"], row["storage"], row["prompt"]): row["tokens_per_second"] for row in rows}

    def over(row: dict[str, Any], *key: str) -> str:
        other = peer.get((*key, row["prompt"]))
        return f"{row['tokens_per_second'] / other:.2f}" if other else ""

    return [
        {
            "what": row["what"],
            "backend": row["backend"],
            "stored": row["storage"],
            "prompt": str(row["prompt"]),
            "tokens/s": f"{row['tokens_per_second']:.1f}",
            "of bandwidth": f"{row['share']:.0%}",
            "× own f32": over(row, row["what"], row["backend"], "float32"),
            "× transformers": over(row, "transformers", "torch", "float32"),
            "× keras-hub": over(row, "keras-hub", row["backend"], "float32"),
            "× llama.cpp f32": over(row, "llama.cpp", "ggml", "float32"),
            "load s": f"{row['load_seconds']:.1f}",
            "first run s": f"{row['first_seconds']:.1f}",
            "as first row": "" if not row["ids"] else "yes" if row["ids"] == rows[0]["ids"] else "no",
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--ways", nargs="+", type=Way.of, default=list(WAYS), help="what:backend:storage[:prompt]")
    parser.add_argument("--new", type=int, default=NEW, help="tokens to generate")
    parser.add_argument("--pure", action="store_true", help="intermodal without compiled kernels")
    parser.set_defaults(runs=1)
    args: argparse.Namespace = parser.parse_args()
    if args.pure:
        os.environ["INTERMODAL_PLUGINS"] = "-native"  # the processes of the ways inherit it
    if args.way:
        print(json.dumps(measure(Way.of(args.way), args.cache, args.new)))
        return
    rows = run(args.ways, cache=args.cache, runs=args.runs, new=args.new)
    gb = rows[0]["bandwidth"] / 1e9
    show(f"Decoding, batch 1, {args.new} tokens, greedy; bandwidth {gb:.1f} GB/s", table(rows), args.json, rows)


if __name__ == "__main__":
    main()
