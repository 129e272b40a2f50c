"""Seconds and memory of loading a checkpoint, over one read of its bytes; beside transformers and KerasHub."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import (
    BACKENDS,
    DEMO,
    arguments,
    checkpoint,
    gguf_file,
    in_process,
    median_of,
    peak_bytes,
    read_seconds,
    resident_bytes,
    show,
    weight_bytes,
)
from intermodal.dtypes import numpy_dtype

IDS = np.arange(3, 35, dtype="int32")[None]


READ = "read"
"""The way that only reads the bytes and builds the tokenizer, in a process as new as those that load."""


class Way(NamedTuple):
    """One row.

    Attributes:
        what: whose loader. `backend`: of Keras.
        layout: `"aligned"`: as intermodal writes it, tensors at multiples of 64 bytes; `"published"`: as most files
            on the Hub are, at other addresses, which JAX and TensorFlow cannot use in place; `"shards"`: in several
            files; `"gguf"`: blocks of Q8_0, which stay packed, or are dequantised where a dtype is asked for.
        dtype: asked of the loader.
    """

    what: str
    backend: str
    layout: str = "aligned"
    dtype: str = "auto"


TITLE = "Loading: seconds over one read of the same bytes, peak memory over the weights' own"
WAYS = (
    *(Way("intermodal", backend, layout) for backend in BACKENDS for layout in ("aligned", "published")),
    Way("transformers", "torch"),
    Way("keras-hub", "jax"),
)
MEMORY_WAYS = (
    *(Way("intermodal", backend, layout) for layout in ("shards", "gguf") for backend in BACKENDS),
    *(Way("intermodal", backend, "gguf", "float32") for backend in BACKENDS),
    *(Way("intermodal", backend, "published", "bfloat16") for backend in BACKENDS),
)


def run(
    ways: Sequence[Way] = WAYS + MEMORY_WAYS, *, cache: Path, source: str = DEMO, runs: int = 1
) -> list[dict[str, Any]]:
    """Load the model each way, in processes of their own; ways whose packages are not installed are left out.

    Args:
        ways: what to measure.
        cache: folder for the checkpoints, which are written once.
        source: the checkpoint.
        runs: how often, in turn; the median counts.

    Returns:
        A row for each way: `load` and `first` (with a 32-token forward) in seconds, `again`: a second load in the
        same process; `new_read` and `read`: one `read()` of the file's bytes, in a new process and in one that has
        held as much memory before; `memory` and `memory_first`: peaks above the process before, `bytes`: of the
        weights as they are then; `tokenizer`: memory that it keeps; `limit`: what `memory` should be at most, the
        weights and a twentieth, or the weights and the largest tensor where values are converted.
    """
    folders = {"aligned": checkpoint(cache, source=source)}
    folders["published"] = published(folders["aligned"])
    layouts = {way.layout for way in ways}
    if "shards" in layouts:
        folders["shards"] = sharded(folders["aligned"])
    if "gguf" in layouts:
        folders["gguf"] = gguf_file(cache, "q8_0")
    return rows_of(ways, folders, runs)


def run_growth(backends: Sequence[str], *, cache: Path, sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Load models of some sizes in GB, of zeros, once each; the files are sparse, and removed at once."""
    rows = []
    for size in sizes:
        folder = zeros(cache / f"zeros-{size}", int(size * 1e9))
        try:
            rows += rows_of([Way("intermodal", backend) for backend in backends], {"aligned": folder}, 1)
        finally:
            shutil.rmtree(folder)
    return rows


def rows_of(ways: Sequence[Way], folders: dict[str, Path], runs: int) -> list[dict[str, Any]]:
    """Measure each way on the folder of its layout."""
    keys: list[tuple[str, str | None]] = [(":".join(way), way.backend) for way in ways]

    def measured(name: str, backend: str | None) -> dict[str, Any] | None:
        folder = ("--folder", str(folders[Way(*name.split(":")).layout]))
        reading = in_process(__file__, READ, *folder)
        figures = in_process(__file__, name, *folder, backend=backend)
        return figures and reading and {**figures, "new_read": reading["read"], "tokenizer": reading["tokenizer"]}

    figures = median_of(runs, keys, measured)
    return [{**way._asdict(), **figures[key]} for way, key in zip(ways, keys, strict=True) if key in figures]


def sharded(folder: Path, files: int = 4) -> Path:
    """The same checkpoint in several files."""
    import intermodal

    target = folder.with_name(f"{folder.name}-shards")
    if not target.exists():
        intermodal.convert(folder, target, max_shard_size=weight_bytes(folder) // files)
    return target


def published(folder: Path) -> Path:
    """The same checkpoint with tensors at 8 modulo 64, where headers of other writers leave them."""
    target = folder.with_name(f"{folder.name}-published")
    if target.exists():
        return target
    beside = folder.with_name(f".{target.name}")
    shutil.copytree(folder, beside, ignore=shutil.ignore_patterns("*.safetensors"))
    with open(folder / "model.safetensors", "rb") as old, open(beside / "model.safetensors", "wb") as new:
        header = old.read(int.from_bytes(old.read(8), "little")).rstrip()
        data, end = old.tell(), old.seek(0, 2)
        header += b" " * (-len(header) % 64)
        new.write(len(header).to_bytes(8, "little") + header)
        start = new.tell()
        old.seek(data)
        while chunk := old.read(1 << 24):
            if chunk.strip(b"\0"):
                new.write(chunk)
            else:
                new.seek(len(chunk), 1)  # a hole stays a hole
        new.truncate(start + end - data)
    beside.rename(target)
    return target


def zeros(folder: Path, nbytes: int) -> Path:
    """A Llama checkpoint of about `nbytes` of zeros, in a sparse file that takes no room."""
    from intermodal.checkpoints.layout import TensorSpec, header_bytes

    hidden, vocabulary = 2048, 8192
    shapes = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        **{f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"},
        **{f"mlp.{name}_proj": (4 * hidden, hidden) for name in ("gate", "up")},
        "mlp.down_proj": (hidden, 4 * hidden),
    }
    a_layer = 4 * sum(map(math.prod, shapes.values()))
    layers = max(1, round((nbytes - 4 * vocabulary * hidden) / a_layer))
    named = {"model.embed_tokens": (vocabulary, hidden), "model.norm": (hidden,)}
    named |= {f"model.layers.{n}.{name}": shape for n in range(layers) for name, shape in shapes.items()}
    specs = [TensorSpec(f"{name}.weight", "float32", shape) for name, shape in named.items()]
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
    config |= {"hidden_size": hidden, "intermediate_size": 4 * hidden, "vocab_size": vocabulary}
    config |= {"num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    with open(folder / "model.safetensors", "wb") as file:
        header = header_bytes(specs, {"format": "pt"})
        file.write(header)
        file.truncate(len(header) + sum(spec.nbytes for spec in specs))
    return folder


def measure(way: Way, folder: Path) -> dict[str, float]:
    """Load in this process; imports, compiled kernels among them, are done before the clock starts."""
    loaders = {"intermodal": _intermodal, "transformers": _transformers, "keras-hub": _keras_hub}
    load, forward = loaders[way.what](way.dtype)
    before = peak_bytes()
    started = time.perf_counter()
    model = load(folder)
    loaded = time.perf_counter()
    peak = peak_bytes()
    forward(model)
    done = time.perf_counter()
    memory_first = peak_bytes() - before
    nbytes = weights_in(model)
    extra = largest_tensor(folder) if way.dtype != "auto" else nbytes // 20
    del model
    begun = time.perf_counter()
    model = load(folder)
    again = time.perf_counter() - begun
    begun = time.perf_counter()
    forward(model)
    again_first = again + time.perf_counter() - begun
    del model
    return {
        "read": statistics.median(read_seconds(folder) for _ in range(3)),  # last: its buffer would hide the peaks
        "load": loaded - started,
        "first": done - started,
        "again": again,
        "again_first": again_first,
        "memory": peak - before,
        "memory_first": memory_first,
        "bytes": nbytes,
        "limit": nbytes + extra,
    }


def tokenizer_bytes(folder: Path) -> int:
    """Memory that a checkpoint's tokenizer keeps; to build it takes more for a while."""
    from intermodal.examination import examine
    from intermodal.processing.load import checkpoint_tokenizer
    from intermodal.weights.memory import give_back

    checkpoint = examine(str(folder)).checkpoint
    held = [checkpoint_tokenizer(checkpoint)]  # which imports what it needs
    give_back()
    before = resident_bytes()
    held.append(checkpoint_tokenizer(checkpoint))
    give_back()
    return resident_bytes() - before


def largest_tensor(folder: Path) -> int:
    """Bytes of the largest tensor in a checkpoint's files."""
    from intermodal.examination import examine

    return max(info.nbytes for info in examine(str(folder)).checkpoint.tensors.values())


def weights_in(model: Any) -> int:
    """Bytes of a model's weights as they lie in memory."""
    if hasattr(model, "parameters"):  # transformers
        return sum(parameter.nbytes for parameter in model.parameters())
    return sum(int(np.prod(v.shape)) * numpy_dtype(str(v.dtype)).itemsize for v in model.variables)


def _intermodal(dtype: str) -> tuple[Any, Any]:
    import intermodal
    import intermodal.examination
    import intermodal.tasks.causal_lm
    import keras
    import tokenizers
    from intermodal.compiled import for_cpu

    assert tokenizers
    assert __import__("intermodal_llama3.model")
    for_cpu(keras.backend.backend())
    ops = keras.ops

    def load(folder):
        model = intermodal.load(folder, dtype=dtype, progress=False)
        for variable in model.variables:  # asynchronous backends: wait for the last byte
            getattr(variable.value, "block_until_ready", lambda: None)()
        return model

    return load, lambda model: np.asarray(ops.convert_to_numpy(model.predict_on_batch({"input_ids": IDS})))


def _transformers(dtype: str) -> tuple[Any, Any]:
    import torch
    import transformers
    from transformers import LlamaForCausalLM

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def load(folder):
        if (folder / "tokenizer.json").exists():
            transformers.AutoTokenizer.from_pretrained(folder)  # ours comes with it
        return LlamaForCausalLM.from_pretrained(folder, dtype=dtype)

    def forward(model):
        with torch.no_grad():
            model(torch.tensor(IDS, dtype=torch.long))

    return load, forward


def _keras_hub(dtype: str) -> tuple[Any, Any]:
    import keras_hub

    def load(folder):
        return keras_hub.models.Llama3Backbone.from_preset(str(folder))

    def forward(model):
        model.predict_on_batch({"token_ids": IDS, "padding_mask": np.ones_like(IDS)})

    return load, forward


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as they are printed."""
    return [
        {
            "what": row["what"],
            "backend": row["backend"],
            "layout": row["layout"],
            "dtype": row["dtype"],
            "weights, MB": f"{row['bytes'] / 1e6:.0f}",
            "load s": f"{row['load']:.2f}",
            "× read": f"{row['load'] / row['new_read']:.2f}",
            "again × read": f"{row['again'] / row['read']:.2f}",
            "again, with forward, s": f"{row['again_first']:.2f}",
            "memory × weights": f"{row['memory'] / row['bytes']:.2f}",
            "at most": f"{row['limit'] / row['bytes']:.2f}",
            "after forward": f"{row['memory_first'] / row['bytes']:.2f}",
            "more, MB": f"{(row['memory'] - row['bytes']) / 1e6:.0f}",
            "tokenizer, MB": f"{row['tokenizer'] / 1e6:.0f}",
        }
        for row in rows
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ways", nargs="+", type=lambda name: Way(*name.split(":")), default=list(WAYS))
    parser.add_argument("--growth", nargs="+", type=float, metavar="GB", help="instead: models of these sizes")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args: argparse.Namespace = parser.parse_args()
    if args.way == READ:
        print(json.dumps({"read": read_seconds(args.folder), "tokenizer": tokenizer_bytes(args.folder)}))
        return
    if args.way:
        print(json.dumps(measure(Way(*args.way.split(":")), args.folder)))
        return
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.growth:
        backends = list(dict.fromkeys(way.backend for way in args.ways))
        rows = run_growth(backends, cache=args.cache, sizes=args.growth)
    else:
        rows = run(args.ways, cache=args.cache, source=args.source, runs=args.runs)
    show(TITLE, table(rows), args.json, rows)


if __name__ == "__main__":
    main()
