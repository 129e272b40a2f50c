"""`intermodal classify`: the labels of texts, the model's own, or any labels by a model of inference (`--labels`)."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal classify`."""
    texts.add_texts(parser)
    parser.add_argument("--top-k", type=int, metavar="K", help="how many labels to tell (default: all)")
    parser.add_argument("--labels", metavar="A,B,…", help="choose from these labels (zero-shot-classification)")
    parser.add_argument("--template", metavar="TEXT", default="This example is {}.", help="sentence for a label")
    parser.add_argument("--multi-label", action="store_true", help="with --labels: several may be true")


def run(args: argparse.Namespace) -> int:
    """Print the labels of each text, likeliest first."""
    given = texts.texts_of(args)
    if args.labels is None:
        results = texts.load_pipeline("text-classification", args)(given, top_k=args.top_k)
        rows = [{"text": text, **each} for text, labels in zip(given, results, strict=True) for each in labels]
        return texts.show(args, results, rows)
    judge = texts.load_pipeline("zero-shot-classification", args, candidate_labels=args.labels)
    results = judge(given, hypothesis_template=args.template, multi_label=args.multi_label)
    rows = [
        {"text": result["sequence"], "label": label, "score": score}
        for result in results
        for label, score in list(zip(result["labels"], result["scores"], strict=True))[: args.top_k]
    ]
    return texts.show(args, results, rows)
