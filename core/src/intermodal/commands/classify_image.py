"""`intermodal classify-image`: the labels of images."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal classify-image`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("images", metavar="FILE", nargs="+", help="an image file")
    parser.add_argument("--top-k", type=int, metavar="K", default=5, help="how many labels to tell (default: 5)")
    texts.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the labels of each image, likeliest first."""
    results = texts.load_pipeline("image-classification", args)(args.images, top_k=args.top_k)
    rows = [{"image": path, **each} for path, labels in zip(args.images, results, strict=True) for each in labels]
    return texts.show(args, results, rows)
