"""Texts side by side, as one row of tokens without padding: which are read together, and the inputs that say so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from intermodal import kernels
from intermodal.tasks.batches import bucket

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

TOKENS = 1024
"""What is read at a time, unless one text has more."""

SHORTEST = 4
"""Tokens of a text on average, if a row has room for as many texts as fit: so rows of one length are of one shape."""

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
"""Keras has XLA compile nothing for a CPU there, and no program is kept for the next process. So one is compiled here,
for rows of `TOKENS` alone, where there is half of one to read."""

PACKABLE = frozenset({"input_ids", "token_type_ids", "attention_mask"})
"""Inputs of texts that can be read side by side."""

Rows = Mapping[str, Sequence[Sequence[int]]]


def reads_side_by_side(model: TaskModel, rows: Rows) -> bool:
    """Whether these texts are best read side by side: compiled kernels tell them apart, and the family allows it.

    Args:
        model: it predicts.
        rows: inputs by name, unpadded.
    """
    if not model.backbone.reads_packed or model.compute_dtype != "float32" or not PACKABLE.issuperset(rows):
        return False
    if model.run_eagerly or not (model.jit_compile or ON_TENSORFLOW):
        return False
    lengths = [len(row) for row in rows["input_ids"]]
    if not all(map(all, rows.get("attention_mask", ()))) or not lengths or not min(lengths):
        return False
    if max(lengths) > model.config.context_length or (ON_TENSORFLOW and sum(lengths) < TOKENS // 2):
        return False
    with kernels.inference():
        return kernels.takes_ranges(None)


def side_by_side(rows: Rows) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """All texts, some at a time: which they are, and the inputs that have them side by side.

    Args:
        rows: inputs by name, unpadded, none of which is empty.

    Yields:
        Indices of texts; and `input_ids` (1, T) and others of that shape, with `text_numbers` (1, T), `text_begins` and
        `text_ends` (S,), all int32. Results are of S texts, the first of which are those.
    """
    lengths = [len(row) for row in rows["input_ids"]]
    for members in together(lengths):
        counts = np.array([lengths[index] for index in members])
        ends = np.cumsum(counts)
        length = bucket(max(int(ends[-1]), SHORTEST * len(members), TOKENS if ON_TENSORFLOW else 1))
        most = length // SHORTEST
        inputs = {
            name: _filled([item for index in members for item in values[index]], length)[None]
            for name, values in rows.items()
            if name != "attention_mask"
        }
        inputs["text_numbers"] = _filled(np.repeat(np.arange(len(members)), counts), length, most)[None]
        inputs["text_begins"] = _filled(ends - counts, most)
        inputs["text_ends"] = _filled(ends - 1, most, -1)
        yield members, inputs


def computed(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The model's result for what `side_by_side` gives."""
    if not ON_TENSORFLOW:
        return model.predict_on_batch(inputs)
    from intermodal.tasks.steps_tensorflow import TextsProgram

    if model._texts_program is None:
        model._texts_program = TextsProgram(model)
    return model._texts_program(inputs)


def together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts that are read together: no more than TOKENS, and no more texts than results have room for.

    The longest are taken first, and the shortest to fill the rest.
    """
    left = deque(sorted(range(len(lengths)), key=lambda index: -lengths[index]))
    while left:
        members = [left.popleft()]
        room = max(TOKENS, lengths[members[0]]) - lengths[members[0]]
        for take in (left.popleft, left.pop):
            while left and len(members) < TOKENS // SHORTEST:
                index = take()
                if lengths[index] > room:
                    (left.appendleft if take == left.popleft else left.append)(index)
                    break
                members.append(index)
                room -= lengths[index]
        yield members


def _filled(values: Sequence[int] | np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    filled = np.full(length, fill, np.int32)
    filled[: len(values)] = values
    return filled
