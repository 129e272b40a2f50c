"""`intermodal transcribe`: the text of recordings."""

from __future__ import annotations

import argparse

from intermodal.commands import texts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `intermodal transcribe`."""
    parser.add_argument("uri", metavar="URI", help="a folder or file, hf://org/name[@revision], or pkg://package/file")
    parser.add_argument("recordings", metavar="FILE", nargs="+", help="a sound file: WAV, FLAC, OGG, MP3 and others")
    parser.add_argument("--timestamps", choices=["char", "word"], help="tell when each character or word was said")
    parser.add_argument(
        "--chunk", type=float, metavar="SECONDS", help="compute long recordings in pieces of this length"
    )
    texts.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the text of each recording; with timestamps a line for each character or word."""
    transcribe = texts.load_pipeline("automatic-speech-recognition", args)
    results = transcribe(args.recordings, return_timestamps=args.timestamps, chunk_length_s=args.chunk)
    named = list(zip(args.recordings, results, strict=True))
    if args.timestamps is None:
        return texts.show(args, results, [{"recording": path, **result} for path, result in named])
    rows = [
        {"recording": path, "start": chunk["timestamp"][0], "end": chunk["timestamp"][1], "text": chunk["text"]}
        for path, result in named
        for chunk in result["chunks"]
    ]
    return texts.show(args, results, rows)
