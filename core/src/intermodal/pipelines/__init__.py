"""Pipelines: an answer from a text and a checkpoint, with transformers' task names, arguments and results."""

from intermodal.pipelines.making import pipeline

__all__ = ["pipeline"]
