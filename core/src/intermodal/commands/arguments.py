"""Arguments that several commands share, and the keywords they stand for."""

from __future__ import annotations

import argparse
from typing import Any


def add_source(parser: argparse.ArgumentParser) -> None:
    """How the files are fetched and read."""
    group = parser.add_argument_group("checkpoint")
    group.add_argument("--revision", help="branch, tag or commit on the Hub")
    group.add_argument("--subfolder", help="folder of the repository that holds the checkpoint")
    group.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default: huggingface_hub's)")
    group.add_argument("--adapter", metavar="URI", help="a LoRA adapter that goes on the model")
    group.add_argument("--offline", action="store_true", help="use only what has been downloaded before")
    group.add_argument("--family", help="the family or plugin to read it with, where that is not clear")
    group.add_argument(
        "--no-strict", action="store_true", help="report unknown config keys and unexpected tensors, do not refuse them"
    )


def source_keywords(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `load`, `inspect` and `convert` that `add_source` stands for."""
    return {
        "revision": args.revision,
        "subfolder": args.subfolder,
        "cache_dir": args.cache_dir,
        "adapter": args.adapter,
        "local_files_only": args.offline,
        "family": args.family,
        "strict": not args.no_strict,
    }


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """What weights are stored in."""
    parser.add_argument("--dtype", default="auto", help="auto (as in the checkpoint), float32, bfloat16 or float16")


def add_compute(parser: argparse.ArgumentParser) -> None:
    """Where and in what the model computes."""
    add_dtype(parser)
    parser.add_argument(
        "--backend", choices=["jax", "torch", "tensorflow"], help="Keras backend (default: KERAS_BACKEND)"
    )
    parser.add_argument("--device", help="such as cpu or gpu:0")


def compute_keywords(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `load` that `add_compute` stands for."""
    return {"dtype": args.dtype, "backend": args.backend, "device": args.device}


def add_images(parser: argparse.ArgumentParser) -> None:
    """Images that the text is about."""
    parser.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="an image for the model; may be repeated"
    )


def add_generation(parser: argparse.ArgumentParser) -> None:
    """How text is generated. What is not given comes from the checkpoint's generation_config.json."""
    group = parser.add_argument_group("generation")
    group.add_argument("--max-new-tokens", type=int, metavar="N", help="how much to write at most")
    group.add_argument("--temperature", type=float, metavar="T", help="sample at this temperature; 0 is greedy")
    group.add_argument("--top-k", type=int, metavar="K", help="sample from the K likeliest tokens")
    group.add_argument("--top-p", type=float, metavar="P", help="sample from the likeliest tokens that sum to P")
    group.add_argument("--min-p", type=float, metavar="P", help="sample from tokens at least P times the likeliest")
    group.add_argument("--repetition-penalty", type=float, metavar="R", help="above 1: discourage what was said")
    group.add_argument("--seed", type=int, help="the same seed gives the same text")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")


_GENERATION = (
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "seed",
    "stop",
)


def generation_keywords(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `generate` and `chat` that were given."""
    given = {name: getattr(args, name) for name in _GENERATION}
    return {name: value for name, value in given.items() if value is not None}
