"""What pipelines of sound share: recordings are read at the model's rate, and computed with others of their length."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row
from intermodal.processing.recordings import EXPECTED, read_recording


class RecordingPipeline(Pipeline):
    """A model and its feature extractor, called with recordings: see `processing.recordings.EXPECTED`."""

    reads_text = False

    @property
    def feature_extractor(self) -> Any:
        """What makes arrays of recordings: the processor, or a part of it. Raises as `Pipeline.processor`."""
        return getattr(self.processor, "feature_extractor", self.processor)

    def is_single(self, inputs: Any) -> bool:
        """Whether this is one recording. Raises as `Pipeline.is_single`."""
        if isinstance(inputs, bytes | bytearray | os.PathLike) or hasattr(inputs, "__array__"):
            return True
        if not isinstance(inputs, str | Mapping) and not hasattr(inputs, "__iter__"):
            raise InputError(f"{self.task} takes {EXPECTED}, or an iterable of such; got a {type(inputs).__name__}.")
        return super().is_single(inputs)

    def samples(self, item: Any) -> np.ndarray:
        """The samples (n,) of an input, as many a second as the model takes."""
        return read_recording(item, self.feature_extractor.sampling_rate)

    def recording_row(self, samples: np.ndarray, about: Any = None) -> Row:
        """The row of a recording (n,) at the model's rate.

        Raises:
            InputError: the model cannot compute it, because it is too short.
        """
        rate = self.feature_extractor.sampling_rate
        made = self.feature_extractor(samples, sampling_rate=rate, return_attention_mask=False, return_tensors="np")
        self.model.backbone.check_inputs(dict(made))
        return Row({name: values[0] for name, values in made.items()}, about)

    def compute(self, rows: Sequence[Row], options: Any) -> Sequence[Any]:
        """The model's outputs for each row. Rows of one length are computed together, and none is padded.

        So a result is the same whatever else is in a batch, also of models whose norms see padding.
        """
        main = self.model.main_input
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault(len(row.inputs[main]), []).append(index)
        computed: list[Any] = [None] * len(rows)
        for members in by_length.values():
            inputs = {name: np.stack([rows[index].inputs[name] for index in members]) for name in rows[0].inputs}
            outputs = self.model.predict_on_batch(inputs)
            if not isinstance(outputs, Mapping):
                outputs = {self.model.output_name: outputs}
            arrays = {name: np.asarray(values, np.float32) for name, values in outputs.items()}
            for place, index in enumerate(members):
                computed[index] = {name: values[place] for name, values in arrays.items()}
        return computed
