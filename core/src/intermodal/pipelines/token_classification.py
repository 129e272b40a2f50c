"""Token classification: the label of each token of a text, or of each group of tokens that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row, label_names, softmax, text_of
from intermodal.pipelines.entities import STRATEGIES, Token, group, keep_longest, label_tokens, label_words


@dataclass(frozen=True)
class Options:
    """Keywords of a call.

    Attributes:
        aggregation_strategy: `"none"` labels tokens; `"simple"` joins neighbours of one label, where a `B-` begins
            anew; `"first"`, `"average"` and `"max"` let a word have one label before that: of its first token, of
            the mean of its tokens' scores, or of its surest token.
        ignore_labels: labels that are left out.
        stride: cut a text longer than the tokenizer's limit into rows that share so many tokens, in place of dropping
            its end. Not with `"none"`.
        is_split_into_words: a text is a list of words.
        delimiter: what stands between the words of the text that `start` and `end` point into.
    """

    aggregation_strategy: str = "none"
    ignore_labels: Sequence[str] = ("O",)
    stride: int | None = None
    is_split_into_words: bool = False
    delimiter: str = " "

    def __post_init__(self) -> None:
        if self.aggregation_strategy not in STRATEGIES:
            raise InputError(
                f"aggregation_strategy={self.aggregation_strategy!r}: expected one of {', '.join(STRATEGIES)}."
            )
        if self.stride is not None and self.aggregation_strategy == "none":
            raise InputError(
                'stride joins what several rows say of a text, so it needs an aggregation_strategy, such as "simple".'
            )
        if isinstance(self.ignore_labels, str):
            raise InputError(f"ignore_labels is a list of labels, [{self.ignore_labels!r}].")


@dataclass(frozen=True)
class _Note:
    """What is known of a row.

    Attributes:
        text: the whole text. `places`: of each token, as (start, end) in it. `special`: 1 for special tokens.
    """

    text: str
    places: Sequence[tuple[int, int]]
    special: Sequence[int]


class TokenClassificationPipeline(Pipeline):
    """Called with a text, or with a list of words where `is_split_into_words`.

    A result is a list of `{"entity", "score", "index", "word", "start", "end"}`, one a token; with an aggregation
    strategy of `{"entity_group", "score", "word", "start", "end"}`. `start` and `end` count characters of the text,
    which is cut at the tokenizer's limit unless `stride` is given.
    """

    task = "token-classification"
    model_task = "token-classification"
    options_class = Options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`. As in transformers, a single list of words gives a list of one result."""
        words = self.read_options({k: v for k, v in options.items() if k != "batch_size"}).is_split_into_words
        if words and isinstance(inputs, list | tuple) and not all(isinstance(item, list | tuple) for item in inputs):
            inputs = [inputs]
        return super().__call__(inputs, **options)

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row, or with a stride as many as the text needs."""
        text, starts = item, None
        if options.is_split_into_words:
            if not isinstance(item, list | tuple) or not all(isinstance(word, str) for word in item):
                raise InputError("With is_split_into_words a text is a list of words.")
            text = options.delimiter.join(item)
            lengths = [0, *(len(word) + len(options.delimiter) for word in item)]
            starts = np.cumsum(lengths).tolist()
        encoded = self.tokenizer(
            [item] if starts else [text_of(item, self.task)],
            truncation=self.tokenizer.model_max_length is not None,
            stride=options.stride or 0,
            is_split_into_words=options.is_split_into_words,
            return_overflowing_tokens=options.stride is not None,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            return_attention_mask=True,
        )
        for index in range(len(encoded["input_ids"])):
            places = encoded["offset_mapping"][index]
            if starts:
                shifts = [0 if word is None else starts[word] for word in encoded.word_ids(index)]
                places = [(start + by, end + by) for (start, end), by in zip(places, shifts, strict=True)]
            yield self.row(encoded, index, _Note(text, places, encoded["special_tokens_mask"][index]))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """Labelled tokens or groups, in the order of the text."""
        found = []
        for row, outputs in parts:
            tokens = self._tokens(row, softmax(outputs["logits"][: row.length]), options.aggregation_strategy)
            found.extend(self._labelled(tokens, options.aggregation_strategy))
        ignored = set(options.ignore_labels)
        found = [each for each in found if each.get("entity", each.get("entity_group")) not in ignored]
        return keep_longest(found) if len(parts) > 1 else found

    def _labelled(self, tokens: list[Token], strategy: str) -> list[dict[str, Any]]:
        names, join = label_names(self.model.config), self.tokenizer.convert_tokens_to_string
        if strategy == "none":
            return label_tokens(tokens, names)
        labelled = label_tokens(tokens, names) if strategy == "simple" else label_words(tokens, names, strategy, join)
        return group(labelled, join)

    def _tokens(self, row: Row, scores: np.ndarray, strategy: str) -> list[Token]:
        """The row's tokens that are text."""
        note, ids = row.about, row.inputs["input_ids"]
        marks = bool(getattr(self.tokenizer.backend.model, "continuing_subword_prefix", None))
        tokens = []
        for index, (start, end) in enumerate(note.places):
            if note.special[index]:
                continue
            word = self.tokenizer.convert_ids_to_tokens(ids[index])
            # A prefix such as "##" makes a piece longer than its text. Without one, spaces tell words apart.
            inside = len(word) != end - start if marks else start > 0 and " " not in note.text[start - 1 : start + 1]
            if ids[index] == self.tokenizer.unk_token_id:
                word, inside = note.text[start:end], False
            tokens.append(Token(word, scores[index], start, end, index, inside))
        return tokens
