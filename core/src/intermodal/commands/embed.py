"""`intermodal embed`: a vector of each text, by a checkpoint that says how to make one."""

from __future__ import annotations

import argparse

from intermodal.commands import arguments, texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal embed`."""
    texts.add_texts(parser)
    parser.add_argument("--prompt-name", metavar="NAME", help="one of the checkpoint's prompts, put before each text")


def run(args: argparse.Namespace) -> int:
    """Print the vectors; in a table their first numbers."""
    from intermodal.loading import load

    given = texts.texts_of(args)
    with texts.notes():
        model = load(
            args.uri, "sentence-similarity", **arguments.compute_keywords(args), **arguments.source_keywords(args)
        )
    vectors = model.embed(given, args.batch_size, prompt_name=args.prompt_name).tolist()
    results = [{"text": text, "embedding": vector} for text, vector in zip(given, vectors, strict=True)]
    rows = [
        {"text": text, "width": len(vector), "embedding": " ".join(f"{value:.4f}" for value in vector[:6]) + " …"}
        for text, vector in zip(given, vectors, strict=True)
    ]
    return texts.show(args, results, rows)
