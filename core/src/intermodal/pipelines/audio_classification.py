"""Audio classification: the labels of a recording, and how likely each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from intermodal.errors import InputError
from intermodal.pipelines.base import Row
from intermodal.pipelines.recordings import RecordingPipeline
from intermodal.pipelines.scores import check_function, scored_labels


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call.

    Attributes:
        top_k: how many labels to return; None for all.
        function_to_apply: what makes scores of logits, `"sigmoid"`, `"softmax"` or `"none"`. None: as config.json's
            `problem_type` says, else softmax.
    """

    top_k: int | None = None
    function_to_apply: str | None = None

    def __post_init__(self) -> None:
        check_function(self.function_to_apply)
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise InputError(f"top_k={self.top_k!r}: expected a positive integer, or None for all labels.")


class AudioClassificationPipeline(RecordingPipeline):
    """Called with a recording. A result is a list of `{"score", "label"}`, likeliest first."""

    task = "audio-classification"
    model_task = "audio-classification"
    options_class = Options

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row."""
        yield self.recording_row(self.samples(item))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> list[dict[str, Any]]:
        """Scores with their labels."""
        ((_, outputs),) = parts
        config, function = self.model.config, options.function_to_apply
        if function is None and config.problem_type is None:
            function = "softmax"  # of a single label too, unlike for texts
        labelled = scored_labels(outputs["logits"], function, config)
        return [{"score": each["score"], "label": each["label"]} for each in labelled[: options.top_k]]
