"""Feature extraction: the backbone's vector of each token of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row, text_of, tokenizer_keywords


@dataclass(frozen=True)
class Options:
    """Keywords of a call.

    Attributes:
        truncation: as the tokenizer takes it.
        tokenize_kwargs: more keywords of the tokenizer, such as `{"max_length": 128}`.
        return_tensors: return numpy arrays in place of lists.
    """

    truncation: Any = None
    tokenize_kwargs: Mapping[str, Any] | None = None
    return_tensors: bool = False

    def __post_init__(self) -> None:
        if "truncation" in tokenizer_keywords(self.tokenize_kwargs, "tokenize_kwargs") and self.truncation is not None:
            raise InputError("truncation is given twice, by itself and in tokenize_kwargs: leave one of them out.")

    def keywords(self) -> dict[str, Any]:
        """Those of the tokenizer."""
        cut = {} if self.truncation is None else {"truncation": self.truncation}
        return {**(self.tokenize_kwargs or {}), **cut}


class FeatureExtractionPipeline(Pipeline):
    """Called with a text. A result is a list of one list, which has a vector, a list of float, for each token.

    With `return_tensors` it is a float32 array (1, tokens, hidden). It has a text's own tokens alone, however large the
    batch that it was computed in.
    """

    task = "feature-extraction"
    model_task = "feature-extraction"
    options_class = Options

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row."""
        yield self.row(self.tokenizer(text_of(item, self.task), return_attention_mask=True, **options.keywords()))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """The hidden states without padding."""
        ((row, outputs),) = parts
        hidden = outputs["last_hidden_state"][None, : row.length]
        return hidden if options.return_tensors else hidden.tolist()
