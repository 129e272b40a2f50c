"""One causal language model in each program: load it, and continue ids. Every benchmark of generation asks these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BACKENDS, DEMO, checkpoint, gguf_file

Generate = Callable[[np.ndarray, int], "np.ndarray | None"]
"""`(ids, count)`: continues ids (rows, length) greedily by `count` tokens; None where a program gives no ids."""


class Peer(NamedTuple):
    """A program, and how it holds the weights.

    Attributes:
        what: program or library. `backend`: what it computes with.
        storage: dtype of its weights, or the quantisation they get.
    """

    what: str
    backend: str
    storage: str = "float32"

    @property
    def keras_backend(self) -> str | None:
        """What KERAS_BACKEND has to be for it."""
        return self.backend if self.what in ("intermodal", "keras-hub") else None


class Opened(NamedTuple):
    """A loaded model: `generate`, and bytes of its weights, which every token reads."""

    generate: Generate
    nbytes: int
    model: Any = None


BLOCKS = ("q8_0", "q4_0", "q4_1")
"""Storage in GGUF's blocks, which stay packed."""

OURS = tuple(Peer("intermodal", backend) for backend in BACKENDS)


def files(peer: Peer, cache: Path, source: str = DEMO) -> Path:
    """What a program loads; written where it is not there yet. Its values are those that bfloat16 holds."""
    if peer.what == "llama.cpp" or peer.storage in BLOCKS:
        return gguf_file(cache, peer.storage)
    return checkpoint(cache, "bfloat16", source)


def open_peer(peer: Peer, path: Path, context: int = 128) -> Opened:
    """Load a model from `path`; for prompts and continuations of `context` tokens together."""
    openers = {
        "intermodal": _intermodal,
        "transformers": _transformers,
        "keras-hub": _keras_hub,
        "llama.cpp": _llama_cpp,
    }
    return openers[peer.what](peer, path, context)


def _intermodal(peer: Peer, path: Path, context: int) -> Opened:
    import intermodal

    quantized = peer.storage.startswith("int")
    dtype = "auto" if peer.storage in BLOCKS else "float32" if quantized else peer.storage
    model = intermodal.load(path, dtype=dtype, progress=False)
    if quantized:
        model.quantize(peer.storage)

    def generate(ids: np.ndarray, count: int) -> np.ndarray:
        return model.generate({"input_ids": ids}, max_new_tokens=count, do_sample=False, eos_token_id=[])

    return Opened(generate, sum(_nbytes(v) for part in model.parts() for v in part.by_name.values()), model)


def _nbytes(variable: Any) -> int:
    from intermodal.dtypes import numpy_dtype

    return int(np.prod(variable.shape)) * numpy_dtype(str(variable.dtype)).itemsize


def _transformers(peer: Peer, path: Path, context: int) -> Opened:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=peer.storage)

    def generate(ids: np.ndarray, count: int) -> np.ndarray:
        tokens = torch.tensor(ids, dtype=torch.long)
        with torch.no_grad():
            return model.generate(tokens, max_new_tokens=count, min_new_tokens=count, do_sample=False).numpy()

    return Opened(generate, sum(parameter.nbytes for parameter in model.parameters()), model)


def _keras_hub(peer: Peer, path: Path, context: int) -> Opened:
    import keras_hub

    backbone = keras_hub.models.Llama3Backbone.from_preset(str(path), dtype=peer.storage)
    model = keras_hub.models.Llama3CausalLM(backbone=backbone, preprocessor=None)
    model.compile(sampler="greedy")

    def generate(ids: np.ndarray, count: int) -> np.ndarray:
        rows, length = ids.shape
        room = np.concatenate([ids, np.zeros((rows, count), "int32")], axis=1)
        mask = np.broadcast_to(np.arange(length + count) < length, room.shape)
        return np.asarray(model.generate({"token_ids": room, "padding_mask": mask}, stop_token_ids=None)["token_ids"])

    return Opened(generate, sum(_nbytes(variable) for variable in model.variables), model)


def _llama_cpp(peer: Peer, path: Path, context: int) -> Opened:
    import os

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = os.cpu_count()
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    request = {"temperature": 0, "cache_prompt": False, "ignore_eos": True}

    def generate(ids: np.ndarray, count: int) -> None:
        # It gives no ids, unless it also sorts the logits.
        server.handle_completions({**request, "prompt": ids[0].tolist(), "n_predict": count})

    return Opened(generate, path.stat().st_size, server)
