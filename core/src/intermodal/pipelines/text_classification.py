"""Text classification: the labels of a text, or of a pair of texts, and how likely each is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from intermodal.errors import InputError
from intermodal.pipelines.base import Encoding, Pipeline, Row
from intermodal.pipelines.scores import check_function, scored_labels


@dataclass(frozen=True, kw_only=True)
class Options(Encoding):
    """Keywords of a call, with those of the tokenizer.

    Attributes:
        top_k: how many labels to return; None for all. Where it is not given, the likeliest alone.
        function_to_apply: what makes scores of logits, `"sigmoid"`, `"softmax"` or `"none"`. None: as config.json's
            `problem_type` says; else softmax, and sigmoid for a single label.
    """

    top_k: int | Literal["likeliest"] | None = "likeliest"
    function_to_apply: str | None = None

    def __post_init__(self) -> None:
        check_function(self.function_to_apply)
        if not (self.top_k in (None, "likeliest") or (type(self.top_k) is int and self.top_k > 0)):
            raise InputError(f"top_k={self.top_k!r}: expected a positive integer, or None for all labels.")


class TextClassificationPipeline(Pipeline):
    """Called with a text, or `{"text": …, "text_pair": …}`.

    A result is `{"label", "score"}`; with `top_k` a list of them, likeliest first. As in transformers, a single string
    without `top_k` in the call gives a list of one result.
    """

    task = "text-classification"
    model_task = "text-classification"
    options_class = Options
    one_result_a_row = True

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row."""
        text, pair = (item.get("text"), item.get("text_pair")) if isinstance(item, Mapping) else (item, None)
        extra = item.keys() - {"text", "text_pair"} if isinstance(item, Mapping) else ()
        if not isinstance(text, str) or not (pair is None or isinstance(pair, str)) or extra:
            raise InputError('A text to classify is a string, or {"text": "…", "text_pair": "…"} for a pair.')
        yield self.row(self.tokenizer(text, pair, return_attention_mask=True, **options.keywords()))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """Scores with their labels."""
        ((_, outputs),) = parts
        labelled = scored_labels(outputs["logits"], options.function_to_apply, self.model.config)
        return labelled[0] if options.top_k == "likeliest" else labelled[: options.top_k]
