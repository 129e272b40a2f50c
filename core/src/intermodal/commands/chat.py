"""`intermodal chat`: talk to a model in its own chat template, one message or many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from intermodal.commands import arguments, console
from intermodal.commands.generate import load_text_model


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal chat`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("message", metavar="MESSAGE", nargs="?", help="answer this one; without it, a conversation")
    parser.add_argument("--system", help="a system message that comes first")
    arguments.add_images(parser)
    parser.add_argument("--json", action="store_true", help="print the messages as JSON (needs a MESSAGE)")
    arguments.add_compute(parser)
    arguments.add_generation(parser)
    arguments.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Answer one message, or one after the other until the input ends."""
    if args.json and args.message is None:
        print("intermodal chat: --json needs a MESSAGE", file=sys.stderr)
        return 2
    model = load_text_model(args)
    options = arguments.generation_keywords(args)
    messages: list[dict[str, Any]] = [{"role": "system", "content": args.system}] if args.system else []
    if args.message is not None:
        messages.append(_message(args.message, args.image))
        if args.json:
            answer = model.chat(messages, **options)
            console.emit_json([*messages, {"role": "assistant", "content": answer}])
        else:
            _answer(model, messages, options)
        return 0
    images = args.image
    for line in _lines():
        messages.append(_message(line, images))
        images = []  # the first message has them, and the conversation goes on about them
        _answer(model, messages, options)
    return 0


def _message(text: str, images: list[str]) -> dict[str, Any]:
    """What the user says, with images before the text."""
    if not images:
        return {"role": "user", "content": text}
    parts = [*({"type": "image", "image": path} for path in images), {"type": "text", "text": text}]
    return {"role": "user", "content": parts}


def _answer(model: Any, messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Stream an answer and keep it. Ctrl-C ends the answer, and the conversation goes on."""
    pieces: list[str] = []
    try:
        for piece in model.chat(messages, stream=True, **options):
            pieces.append(piece)
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        print(" …", end="")
    print()
    messages.append({"role": "assistant", "content": "".join(pieces)})


def _lines() -> Iterator[str]:
    """What the user types, until Ctrl-D, Ctrl-C at the prompt, or /exit."""
    interactive = sys.stdin.isatty()
    if interactive:
        print("Type a message; Ctrl-D or /exit ends the conversation.", file=sys.stderr)
    while True:
        try:
            line = input("> " if interactive else "")
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip() == "/exit":
            return
        if line.strip():
            yield line
