"""Zero-shot classification: labels chosen at run time, judged by a model that tells whether a sentence follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError, TaskError
from intermodal.pipelines.base import Pipeline, Row, label_names, softmax, text_of


@dataclass(frozen=True)
class Options:
    """Keywords of a call.

    Attributes:
        candidate_labels: a list of labels, or a string of them with commas between.
        hypothesis_template: the sentence that is judged; `{}` stands for the label.
        multi_label: several labels may be true; each is then judged by itself.
    """

    candidate_labels: str | Sequence[str] = ()
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.hypothesis_template, str) or "{" not in self.hypothesis_template:
            raise InputError(
                f"hypothesis_template={self.hypothesis_template!r} has no {{}}, which stands for the label."
            )

    @property
    def labels(self) -> list[str]:
        """The candidates.

        Raises:
            InputError: there are none.
        """
        given = self.candidate_labels
        labels = [label.strip() for label in given.split(",")] if isinstance(given, str) else list(given)
        labels = [label for label in labels if label] if isinstance(given, str) else labels
        if not labels:
            raise InputError('candidate_labels: name at least one, candidate_labels=["urgent", "not urgent"].')
        return labels


class ZeroShotClassificationPipeline(Pipeline):
    """Called with a text and `candidate_labels`. A result is `{"sequence", "labels", "scores"}`, likeliest first.

    The checkpoint is a text classifier trained on natural language inference, and has a label that begins with
    "entail". A text that is too long is cut, the sentence with the label is not.
    """

    task = "zero-shot-classification"
    model_task = "text-classification"
    options_class = Options
    one_result_a_row = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._entailment()

    def __call__(self, inputs: Any, candidate_labels: Any = None, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        given = {} if candidate_labels is None else {"candidate_labels": candidate_labels}
        return super().__call__(inputs, **given, **options)

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row a label."""
        text = text_of(item, self.task)
        if not text:
            raise InputError(f"{self.task} takes a text that is not empty.")
        for label in options.labels:
            hypothesis = options.hypothesis_template.format(label)
            encoded = self.tokenizer(text, hypothesis, truncation="only_first", return_attention_mask=True)
            yield self.row(encoded, about=(text, label))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """Labels with their scores."""
        logits = np.stack([outputs["logits"] for _, outputs in parts])
        entailment = self._entailment()
        if options.multi_label or len(parts) == 1:
            contradiction = len(logits[0]) - 1 if entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, entailment]])[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        order = scores.argsort()[::-1]
        return {
            "sequence": parts[0][0].about[0],
            "labels": [parts[index][0].about[1] for index in order],
            "scores": scores[order].tolist(),
        }

    def _entailment(self) -> int:
        """Index of the label that says that the sentence follows.

        Raises:
            TaskError: there is none.
        """
        names = label_names(self.model.config)
        for index, name in enumerate(names):
            if name.lower().startswith("entail"):
                return index
        raise TaskError(
            f"{self.task} needs a model of natural language inference, with a label that begins with 'entail'; this "
            f"one has {', '.join(names)}. If one of them is it, name it: pipeline(task, uri, "
            'config={"id2label": {0: "contradiction", …, 2: "entailment"}}).'
        )
