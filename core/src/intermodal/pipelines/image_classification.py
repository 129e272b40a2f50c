"""Image classification: the labels of an image, and how likely each is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row
from intermodal.pipelines.scores import check_function, scored_labels
from intermodal.processing.images import upright_rgb

MOST = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call.

    Attributes:
        top_k: how many labels to return, at most; None for 5.
        function_to_apply: what makes scores of logits, `"sigmoid"`, `"softmax"` or `"none"`. None: as config.json's
            `problem_type` says; else softmax, and sigmoid for a single label.
    """

    top_k: int | None = MOST
    function_to_apply: str | None = None

    def __post_init__(self) -> None:
        check_function(self.function_to_apply)
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise InputError(f"top_k={self.top_k!r}: expected a positive integer.")


class ImageClassificationPipeline(Pipeline):
    """Called with an image: a path, a data: URI, the bytes of a file, a PIL image or an array.

    A result is a list of `{"label", "score"}`, likeliest first. Nothing is fetched from the web.
    """

    task = "image-classification"
    model_task = "image-classification"
    options_class = Options
    reads_text = False

    def is_single(self, inputs: Any) -> bool:
        """Whether this is one image."""
        single = isinstance(inputs, bytes | bytearray | memoryview | os.PathLike)
        return single or hasattr(inputs, "getbands") or hasattr(inputs, "__array__") or super().is_single(inputs)

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row."""
        yield Row({"pixel_values": self.processor([upright_rgb(item)])["pixel_values"][0]})

    def batch(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """Pixels of images, which have to be of one size.

        Raises:
            InputError: they are not.
        """
        from intermodal.tasks.batches import stacked

        images = [row.inputs["pixel_values"] for row in rows]
        if len({image.shape for image in images}) > 1:
            raise InputError("Images of different sizes make no batch, and do_resize is false: pass batch_size=1.")
        return {"pixel_values": stacked(images)}

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """Scores with their labels."""
        ((_, outputs),) = parts
        labelled = scored_labels(outputs["logits"], options.function_to_apply, self.model.config)
        return labelled[: MOST if options.top_k is None else options.top_k]
