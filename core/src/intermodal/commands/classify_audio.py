"""`intermodal classify-audio`: the labels of recordings."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal classify-audio`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("recordings", metavar="FILE", nargs="+", help="a sound file: WAV, FLAC, OGG, MP3 and others")
    parser.add_argument("--top-k", type=int, metavar="K", help="how many labels to tell (default: all)")
    texts.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the labels of each recording, likeliest first."""
    results = texts.load_pipeline("audio-classification", args)(args.recordings, top_k=args.top_k)
    rows = [
        {"recording": path, "label": each["label"], "score": each["score"]}
        for path, labels in zip(args.recordings, results, strict=True)
        for each in labels
    ]
    return texts.show(args, results, rows)
