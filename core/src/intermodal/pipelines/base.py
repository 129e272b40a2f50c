"""What all pipelines share: keywords that are checked, inputs that stream through in batches, and a progress bar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from intermodal.commands.console import progress_bar
from intermodal.errors import InputError, TaskError, TokenizerError

if TYPE_CHECKING:
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.tasks.base import TaskModel

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """One row of a batch: what the model is called with, and what `finish` has to know of it.

    Attributes:
        inputs: `input_ids` and what belongs to them, unpadded lists of the same length; or what else the pipeline's
            `batch` makes arrays of.
        about: whatever the pipeline notes.
    """

    inputs: Mapping[str, Any]
    about: Any = None

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return len(self.inputs["input_ids"])


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How texts become ids: keywords of a pipeline that are the tokenizer's own. See `Tokenizer.__call__`."""

    add_special_tokens: bool = True
    padding: Any = False
    truncation: Any = False
    max_length: int | None = None

    def keywords(self) -> dict[str, Any]:
        """Them as the tokenizer takes them."""
        return {item.name: getattr(self, item.name) for item in fields(Encoding)}


class Pipeline(ABC):
    """A model and its tokenizer or processor, called with texts, images or sound.

    Called with one input it returns one result, with a list a list, and with a generator or another iterable an
    iterator, which takes its inputs when results are asked for. What a result is depends on the task.

    Attributes:
        task: its name. `model_task`: the task that a checkpoint is loaded for.
        options_class: dataclass of the keywords of a call.
        reads_text: whether it needs a tokenizer; else it needs a processor.
        one_result_a_row: whether the model makes of each text one tensor, so that texts can be read side by side.
        model, tokenizer: what it runs.
        batch_size: rows that are computed at a time, where a call does not say.
        options: keywords that hold for every call that does not give its own.
    """

    task: ClassVar[str]
    model_task: ClassVar[str]
    options_class: ClassVar[type]
    reads_text: ClassVar[bool] = True
    one_result_a_row: ClassVar[bool] = False

    def __init__(
        self,
        model: TaskModel,
        tokenizer: Tokenizer | None = None,
        *,
        processor: Any = None,
        batch_size: int = 1,
        progress: bool = True,
        **options: Any,
    ) -> None:
        of_model = getattr(model, "task", None)
        if of_model != self.model_task:
            what = (
                f"this one is for {of_model!r}" if of_model else f"a {type(model).__name__} is no model of intermodal"
            )
            raise TaskError(
                f"The pipeline {self.task} needs a model for {self.model_task!r}, and {what}: "
                f"intermodal.load(uri, {self.model_task!r}) loads it."
            )
        found = tokenizer if tokenizer is not None else model.tokenizer
        if found is None and self.reads_text:
            raise TokenizerError(
                f"The pipeline {self.task} reads text, and the checkpoint holds no tokenizer: pass "
                "tokenizer=intermodal.AutoTokenizer.from_pretrained(…)."
            )
        family = model.family
        if processor is not None and not (family.processor or family.image_processor or family.feature_extractor):
            raise InputError(
                f"{family.name} reads text alone, so nothing would ask the processor, image_processor or "
                "feature_extractor that was given: leave it out."
            )
        self.model, self.tokenizer = model, cast("Tokenizer", found)
        self._processor = processor
        if not self.reads_text:
            _ = self.processor  # which says now, and not at the first call, if there is none
        self.batch_size, self.progress = _checked_size(batch_size), progress
        self.options: dict[str, Any] = {}
        self.read_options(options)
        self.options = options

    @property
    def processor(self) -> Any:
        """What makes arrays of images or sound: the one that was given, else the model's.

        Raises:
            InputError: the checkpoint holds none.
        """
        found = self._processor if self._processor is not None else self.model.processor
        if found is None:
            raise InputError(
                "The checkpoint has no preprocessor_config.json, so nothing but text can be read: add the file, or set "
                "model.processor."
            )
        return found

    # --- what each pipeline says -------------------------------------------------------------------------------------

    @abstractmethod
    def prepare(self, item: Any, options: Any) -> Iterable[Row]:
        """The rows of one input, at least one.

        Raises:
            InputError: it is no input of this pipeline.
        """

    @abstractmethod
    def finish(self, parts: Sequence[tuple[Row, Any]], options: Any) -> Any:
        """The result of one input, from its rows and what was computed of each."""

    def batch(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """The model's inputs for some rows; there may be more after them, whose outputs are not looked at."""
        from intermodal.tasks.batches import padded

        pad = self.model.config.pad_token_id
        pad = self.tokenizer.pad_token_id if pad is None else pad
        inputs = {name: [row.inputs[name] for row in rows] for name in rows[0].inputs}
        return padded(inputs, self.model.config.context_length, {"input_ids": pad or 0})

    def compute(self, rows: Sequence[Row], options: Any) -> Sequence[Any]:
        """What the model makes of each row: its outputs by name, padded positions included."""
        from intermodal.tasks.inputs import check_indices
        from intermodal.tasks.packing import computed, reads_side_by_side, side_by_side

        if self.one_result_a_row and len(rows) > 1:
            texts = {name: [row.inputs[name] for row in rows] for name in rows[0].inputs}
            if reads_side_by_side(self.model, texts):
                found: dict[int, Any] = {}
                for members, inputs in side_by_side(texts):
                    check_indices(inputs, self.model.backbone.tables())
                    found.update(zip(members, np.asarray(computed(self.model, inputs), np.float32), strict=False))
                return [{self.model.output_name: found[index]} for index in range(len(rows))]
        arrays = self.batch(rows)
        check_indices(arrays, self.model.backbone.tables())
        outputs = self.model.predict_on_batch(arrays)
        if not isinstance(outputs, Mapping):
            outputs = {self.model.output_name: outputs}
        computed = {name: np.asarray(values, np.float32) for name, values in outputs.items()}
        return [{name: values[index] for name, values in computed.items()} for index in range(len(rows))]

    # --- calling it --------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """The result of one input, a list of results of a list, or an iterator over those of another iterable.

        Args:
            inputs: as the task has them.
            batch_size: rows that are computed at a time; more are faster for many inputs of like length.
            options: the task's own keywords, see `options_class`.

        Raises:
            InputError: a keyword or an input is none of this pipeline.
        """
        read = self.read_options(options)
        size = self.batch_size if batch_size is None else _checked_size(batch_size)
        if self.is_single(inputs):
            return next(self._stream([inputs], read, size))
        stream = self._shown(self._stream(inputs, read, size), len(inputs) if hasattr(inputs, "__len__") else None)
        return list(stream) if isinstance(inputs, list | tuple) else stream

    def is_single(self, inputs: Any) -> bool:
        """Whether this is one input, and not several.

        Raises:
            InputError: it is neither.
        """
        if isinstance(inputs, str | Mapping):
            return True
        if not hasattr(inputs, "__iter__") and not hasattr(inputs, "__getitem__"):
            raise InputError(f"{self.task} takes a text, a list of them or an iterable; got a {type(inputs).__name__}.")
        return False

    def read_options(self, given: Mapping[str, Any]) -> Any:
        """The keywords of a call as one object, those it does not give being the pipeline's own.

        Raises:
            InputError: names those that it does not take.
        """
        self.check_option_names(given)
        return self.options_class(**{**self.options, **given})

    def check_option_names(self, given: Iterable[str]) -> None:
        """Refuse keywords that a call does not take.

        Raises:
            InputError: names them.
        """
        known = self.option_names()
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(f"{self.task} takes no {', '.join(unknown)}; it takes: {', '.join(sorted(known))}.")

    @classmethod
    def option_names(cls) -> set[str]:
        """The keywords that a call takes."""
        return {item.name for item in fields(cls.options_class)}

    def row(self, encoded: Mapping[str, Any], index: int | None = None, about: Any = None) -> Row:
        """A row of what the tokenizer returned: of a single text, or the one with this index."""
        names = {"input_ids", "attention_mask", *self.tokenizer.model_input_names} & encoded.keys()
        return Row({name: encoded[name] if index is None else encoded[name][index] for name in names}, about)

    def _stream(self, items: Iterable[Any], options: Any, size: int) -> Iterator[Any]:
        """Results in the order of the inputs. Rows of several inputs share a batch, and those of one may be in two."""
        rows = (marked for item in items for marked in _marked(self.prepare(item, options)))
        parts: list[tuple[Row, Any]] = []
        while batch := list(islice(rows, size)):
            computed = self.compute([row for row, _ in batch], options)
            for (row, last), outputs in zip(batch, computed, strict=True):
                parts.append((row, outputs))
                if last:
                    yield self.finish(parts, options)
                    parts = []

    def _shown(self, results: Iterator[Any], total: int | None) -> Iterator[Any]:
        several = total is not None and total > 1
        with progress_bar(self.task, total, enabled=self.progress and several) as advance:
            for result in results:
                advance(1)
                yield result


def text_of(item: Any, task: str) -> str:
    """An input that has to be a text.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(item, str):
        raise InputError(f"{task} takes a text, a list of them or an iterable; got a {type(item).__name__} among them.")
    return item


def tokenizer_keywords(given: Mapping[str, Any] | None, named: str) -> dict[str, Any]:
    """Keywords for the tokenizer that a user gives as a dict.

    Args:
        given: the dict, or None.
        named: what the argument is called.

    Raises:
        InputError: one is not for users of a pipeline to set.
    """
    known = {item.name for item in fields(Encoding)}
    unknown = sorted((given or {}).keys() - known)
    if unknown:
        raise InputError(f"{named} has {', '.join(unknown)}; it may have: {', '.join(sorted(known))}.")
    return dict(given or {})


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def label_names(config: Any) -> list[str]:
    """The names of a head's labels by index; transformers' placeholders where config.json names none."""
    named = config.id2label or {}
    return [named.get(index, f"LABEL_{index}") for index in range(config.num_labels)]


def _checked_size(batch_size: Any) -> int:
    if type(batch_size) is not int or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r}: expected a positive integer.")
    return batch_size


def _marked(rows: Iterable[Row]) -> Iterator[tuple[Row, bool]]:
    """Each row, and whether it is the last one."""
    made = list(rows)
    return ((row, index == len(made) - 1) for index, row in enumerate(made))
