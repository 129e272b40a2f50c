"""`intermodal generate`: load a model and continue a prompt, or answer it where the model is made for chat."""

from __future__ import annotations

import argparse
import sys
import time

from intermodal.commands import arguments, console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal generate`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="the text to continue; read from stdin if absent")
    arguments.add_images(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with text and timings")
    arguments.add_compute(parser)
    arguments.add_generation(parser)
    arguments.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Stream the continuation to stdout as it is made."""
    prompt = sys.stdin.read() if args.prompt is None else args.prompt
    model = load_text_model(args)
    started = time.perf_counter()
    options = arguments.generation_keywords(args)
    given = {"text": prompt, "images": args.image} if args.image else prompt
    if args.json:
        text = model.generate(given, **options)
        seconds = time.perf_counter() - started
        report = model.report.to_dict() if model.report else {}
        brief = {key: report[key] for key in ("uri", "revision", "family", "task", "backend", "storage", "compute")}
        console.emit_json({"prompt": prompt, "text": text, "seconds": round(seconds, 3), **brief})
        return 0
    for piece in model.generate(given, stream=True, **options):
        print(piece, end="", flush=True)
    print()
    return 0


def load_text_model(args: argparse.Namespace):
    """Load the model that a command's arguments name, to write text, with warnings as lines on stderr."""
    import warnings

    from intermodal.loading import load

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
        task = "image-text-to-text" if args.image else "text-generation"
        return load(args.uri, task, **arguments.compute_keywords(args), **arguments.source_keywords(args))
