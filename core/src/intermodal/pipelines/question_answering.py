"""Question answering: the span of a text that answers a question. Long texts are cut into rows that overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row

MAX_LENGTH = 384
"""Tokens of a row, where neither the call nor the tokenizer's limit says less."""

_UNLIKELY = -10000.0


@dataclass(frozen=True)
class Options:
    """Keywords of a call.

    Attributes:
        top_k: how many answers to return.
        doc_stride: tokens that a row shares with the one before. None: 128, at most half of `max_seq_len`.
        max_seq_len: tokens of a row, question included.
        max_answer_len: tokens of an answer at most.
        handle_impossible_answer: an empty answer is possible too.
        align_to_words: answers begin and end with words.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_seq_len: int | None = None
    max_answer_len: int = 15
    handle_impossible_answer: bool = False
    align_to_words: bool = True

    def __post_init__(self) -> None:
        for name in ("top_k", "max_answer_len", "max_seq_len", "doc_stride"):
            value, least = getattr(self, name), 0 if name == "doc_stride" else 1
            unset = value is None and name in ("max_seq_len", "doc_stride")
            if not unset and not (type(value) is int and value >= least):
                raise InputError(f"{name}={value!r}: expected an integer from {least} on.")


@dataclass(frozen=True)
class _Note:
    """What is known of a row.

    Attributes:
        context: the text. `inside`: which tokens are of it. `first`: place of the token that stands for no answer.
        encoding: the tokenizers library's object of the row. `sequence`: which of the two texts the context is.
    """

    context: str
    inside: np.ndarray
    first: int | None
    encoding: Any
    sequence: int

    @property
    def allowed(self) -> np.ndarray:
        """Which tokens have a share of the probabilities."""
        allowed = self.inside.copy()
        if self.first is not None:
            allowed[self.first] = True
        return allowed


class QuestionAnsweringPipeline(Pipeline):
    """Called with `question=…, context=…`, with a dict of both, or with lists of them.

    A result is `{"score", "start", "end", "answer"}`, with `top_k` above 1 a list of them, likeliest first; `start` and
    `end` count characters of the context. transformers had this pipeline up to version 4; as there, a list of one
    question gives one result.
    """

    task = "question-answering"
    model_task = "question-answering"
    options_class = Options

    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any) -> Any:
        """See `Pipeline.__call__`.

        Args:
            inputs: `{"question": …, "context": …}`, a list of such dicts, or another iterable of them.
            question: a question or a list of them, in place of `inputs`.
            context: the text, one for all questions or one for each.
            options: see `Options`, and `batch_size`.
        """
        if (inputs is None) == (question is None and context is None):
            raise InputError('A question is asked as question="…", context="…", or as a dict of both.')
        if inputs is None:
            questions = [question] if isinstance(question, str) else list(question or ())
            contexts = [context] * len(questions) if isinstance(context, str) else list(context or ())
            if len(questions) != len(contexts):
                raise InputError(f"There are {len(questions)} questions and {len(contexts)} contexts.")
            pairs = zip(questions, contexts, strict=True)
            inputs = [{"question": asked, "context": text} for asked, text in pairs]
        if isinstance(inputs, list | tuple) and len(inputs) == 1:
            inputs = inputs[0]
        return super().__call__(inputs, **options)

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """As many rows as the context needs."""
        question, context = _read(item)
        limits = (self.tokenizer.model_max_length, self.model.config.context_length)
        length = options.max_seq_len or min(MAX_LENGTH, *(limit for limit in limits if limit is not None))
        stride = min(length // 2, 128) if options.doc_stride is None else options.doc_stride
        after = self.tokenizer.padding_side == "right"  # where texts are padded on the left, the context comes first
        first, second = (question, context) if after else (context, question)
        encoded = self.tokenizer(
            [first],
            [second],
            truncation="only_second" if after else "only_first",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_attention_mask=True,
        )
        for index, encoding in enumerate(encoded.encodings):
            inside = np.array([sequence == int(after) for sequence in encoding.sequence_ids])
            begins = self.tokenizer.cls_token_id
            place = encoding.ids.index(begins) if begins in encoding.ids else None
            yield self.row(encoded, index, _Note(context, inside, place, encoding, int(after)))

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """The likeliest spans; of spans with the same words the scores are added."""
        answers: list[dict[str, Any]] = []
        least = 1e6
        # Spans that come to the same words become one, so that more are looked at than are returned.
        candidates = options.top_k * 2 + 10 if options.align_to_words else options.top_k
        for row, outputs in parts:
            starts, ends, none = span_probabilities(outputs, row.about.allowed)
            least = min(least, none)
            for start, end, score in likeliest_spans(starts, ends, candidates, options.max_answer_len):
                if not (row.about.inside[start] and row.about.inside[end]):
                    continue
                place = _characters(row.about, start, end, options.align_to_words)
                _add(answers, row.about.context, place, score)
        if options.handle_impossible_answer:
            answers.append({"score": least, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda answer: answer["score"], reverse=True)[: options.top_k]
        return answers[0] if len(answers) == 1 else answers


def likeliest_spans(starts: np.ndarray, ends: np.ndarray, number: int, max_length: int) -> list[tuple[int, int, float]]:
    """The likeliest spans as (first, last, score), of at most `max_length` tokens.

    Args:
        starts, ends: (T,) probabilities of a token being an answer's first, and its last.
        number: how many to return at most.
        max_length: in tokens.
    """
    scores = np.tril(np.triu(np.outer(starts, ends)), max_length - 1)
    flat = scores.ravel()
    best = np.argsort(-flat, kind="stable")[:number]
    return [(int(index) // len(ends), int(index) % len(ends), float(flat[index])) for index in best]


def span_probabilities(outputs: Any, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each token being an answer's first, and its last, among those that are allowed; and of there being no answer.

    Args:
        outputs: `start_logits` and `end_logits`, each (T,) or longer by padding.
        allowed: (T,) true for tokens that may be in an answer, and for the one that stands for no answer.
    """
    start, end = (_share(outputs[name][: len(allowed)], allowed) for name in ("start_logits", "end_logits"))
    none = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    return start, end, none


def _share(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    logits = np.where(allowed, logits, _UNLIKELY)
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def _characters(note: _Note, start: int, end: int, align: bool) -> tuple[int, int]:
    """Where in the context a span of tokens is, as (start, end)."""
    encoding = note.encoding
    if align:
        words = encoding.token_to_word(start), encoding.token_to_word(end)
        if None not in words:
            places = [encoding.word_to_chars(word, note.sequence) for word in words]
            if None not in places:
                return places[0][0], places[1][1]
    return encoding.offsets[start][0], encoding.offsets[end][1]


def _add(answers: list[dict[str, Any]], context: str, place: tuple[int, int], score: float) -> None:
    words = context[place[0] : place[1]]
    for answer in answers:
        if answer["answer"].lower() == words.lower():
            answer["score"] += score
            return
    answers.append({"score": score, "start": place[0], "end": place[1], "answer": words})


def _read(item: Any) -> tuple[str, str]:
    if not isinstance(item, Mapping) or set(item) != {"question", "context"}:
        raise InputError('A question is {"question": "…", "context": "…"}.')
    if not all(isinstance(value, str) and value.strip() for value in item.values()):
        raise InputError("Question and context are texts that are not empty.")
    return item["question"], item["context"]
