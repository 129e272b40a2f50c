"""Document question answering: words on a page that answer a question. Long pages are cut into rows that overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row
from intermodal.pipelines.question_answering import likeliest_spans, span_probabilities
from intermodal.processing.images import read_image, upright_rgb
from intermodal.processing.word_boxes import check_word_boxes, read_words, token_boxes

PIXELS = ("image", "pixel_values")
"""What models call a page's pixels."""

_FORM = 'A question about a page is {"image": …, "question": "…"}, perhaps with "word_boxes": [(word, box), …].'


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call.

    Attributes:
        top_k: how many answers to return, at most.
        doc_stride: tokens that a row shares with the one before. None: 256, at most half of `max_seq_len`.
        max_seq_len: tokens of a row, question included. None: as many as the tokenizer allows.
        max_answer_len: tokens of an answer at most.
        handle_impossible_answer: an empty answer is possible too.
        lang: languages of the page, as Tesseract names them, where the words are not given.
        tesseract_config: more of Tesseract's options.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_seq_len: int | None = None
    max_answer_len: int = 15
    handle_impossible_answer: bool = False
    lang: str | None = None
    tesseract_config: str | None = None

    def __post_init__(self) -> None:
        for name in ("top_k", "max_answer_len", "max_seq_len", "doc_stride"):
            value, least = getattr(self, name), 0 if name == "doc_stride" else 1
            unset = value is None and name in ("max_seq_len", "doc_stride")
            if not unset and not (type(value) is int and value >= least):
                raise InputError(f"{name}={value!r}: expected an integer from {least} on.")


@dataclass(frozen=True)
class _Note:
    """What is known of a row: the page's words, which word a token is of, and which tokens may be in an answer."""

    words: Sequence[str]
    word_ids: Sequence[int | None]
    allowed: np.ndarray


class DocumentQuestionAnsweringPipeline(Pipeline):
    """Called with `image=…, question=…` and perhaps `word_boxes=…`, with a dict of them, or with a list of dicts.

    `word_boxes` are the page's words, `[(word, (left, top, right, bottom)), …]`, boxes in thousandths of the page.
    Without them, the words are read from the image by Tesseract. A result is a list of `{"score", "answer", "start",
    "end"}`, likeliest first; `start` and `end` count words.
    """

    task = "document-question-answering"
    model_task = "document-question-answering"
    options_class = Options

    def __call__(
        self, inputs: Any = None, question: Any = None, word_boxes: Any = None, *, image: Any = None, **options: Any
    ) -> Any:
        """See `Pipeline.__call__`.

        Args:
            inputs: `{"image": …, "question": …, "word_boxes": …}`, a list of such dicts, or another iterable of them;
                or an image, with a question.
            question: what is asked.
            word_boxes: the page's words and their boxes.
            image: the page: a path, a data: URI, the bytes of a file, a PIL image or an array.
            options: see `Options`, and `batch_size`.
        """
        if question is not None:
            if inputs is not None and image is not None:
                raise InputError(f"There are two images. {_FORM}")
            inputs = {"image": image if inputs is None else inputs, "question": question}
            inputs |= {} if word_boxes is None else {"word_boxes": word_boxes}
        elif inputs is None or image is not None or word_boxes is not None:
            raise InputError(f"There is no question. {_FORM}")
        return super().__call__(inputs, **options)

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """As many rows as the page's words need."""
        image, question, words, boxes = self._read(item, options)
        limits = (options.max_seq_len, self.tokenizer.model_max_length, self.model.config.context_length)
        length = next(limit for limit in limits if limit is not None)
        encoded = self.tokenizer(
            [question.split()],
            [words],
            is_split_into_words=True,
            truncation="only_second",
            max_length=length,
            stride=min(length // 2, 256) if options.doc_stride is None else options.doc_stride,
            padding_side="right",
            return_overflowing_tokens=True,
            return_token_type_ids=True,
            return_attention_mask=True,
        )
        placed = token_boxes(encoded.encodings, [boxes] * len(encoded.encodings), self.tokenizer)
        pixels = self._pixels(image)
        for index, encoding in enumerate(encoded.encodings):
            begins = np.array(encoding.ids) == self.tokenizer.cls_token_id
            allowed = np.array([sequence == 1 for sequence in encoding.sequence_ids]) | begins
            row = self.row(encoded, index)
            known = {**row.inputs, "token_type_ids": encoding.type_ids, "bbox": placed[index], **pixels}
            reads = self.model.backbone.reads
            yield Row(
                {name: value for name, value in known.items() if name in reads},
                _Note(words, encoding.word_ids, allowed),
            )

    def batch(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """Ids, boxes and pixels; padding stands nowhere on the page."""
        from intermodal.tasks.batches import stacked

        more = ("bbox", *PIXELS)
        plain = [Row({name: v for name, v in row.inputs.items() if name not in more}) for row in rows]
        arrays = super().batch(plain)
        if "bbox" in rows[0].inputs:
            arrays["bbox"] = np.zeros((*arrays["input_ids"].shape, 4), np.int32)
            for index, row in enumerate(rows):
                arrays["bbox"][index, : row.length] = np.asarray(row.inputs["bbox"])
        for name in set(PIXELS) & set(rows[0].inputs):
            arrays[name] = stacked([np.asarray(row.inputs[name]) for row in rows])
        return arrays

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """The likeliest spans of words."""
        answers: list[dict[str, Any]] = []
        least = 1e6
        for row, outputs in parts:
            note: _Note = row.about
            starts, ends, none = span_probabilities(outputs, note.allowed)
            least = min(least, none)
            for start, end, score in likeliest_spans(starts, ends, options.top_k, options.max_answer_len):
                first, last = note.word_ids[start], note.word_ids[end]
                if note.allowed[start] and note.allowed[end] and first is not None and last is not None:
                    answer = " ".join(note.words[first : last + 1])
                    answers.append({"score": score, "answer": answer, "start": first, "end": last})
        if options.handle_impossible_answer:
            answers.append({"score": least, "answer": "", "start": 0, "end": 0})
        return sorted(answers, key=lambda answer: answer["score"], reverse=True)[: options.top_k]

    def _read(self, item: Any, options: Options) -> tuple[Any, str, list[str], list[Any]]:
        """The image, the question, and the page's words and boxes."""
        if not isinstance(item, Mapping) or not item.keys() <= {"image", "question", "word_boxes"}:
            raise InputError(_FORM)
        image, question, given = (item.get(name) for name in ("image", "question", "word_boxes"))
        if not isinstance(question, str) or not question.strip():
            raise InputError(f"A question is a text that is not empty. {_FORM}")
        if given is None:
            if image is None:
                raise InputError(f"There is neither an image nor words. {_FORM}")
            settings = getattr(self.processor, "image_processor", self.processor)
            lang = options.lang or getattr(settings, "ocr_lang", None)
            config = options.tesseract_config or getattr(settings, "tesseract_config", "")
            return image, question, *read_words(read_image(upright_rgb(image)), lang, config)
        if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in given):
            raise InputError("word_boxes is a list of pairs: (word, (left, top, right, bottom)).")
        words, boxes = ([pair[part] for pair in given] for part in (0, 1))
        check_word_boxes(words, boxes)
        return image, question, words, boxes

    def _pixels(self, image: Any) -> dict[str, np.ndarray]:
        """The page's pixels under the model's own name for them; none for models that read words and boxes alone."""
        name = next((name for name in PIXELS if name in self.model.backbone.reads), None)
        if name is None:
            return {}
        if image is None:
            raise InputError(f"The model reads the page's image beside its words. {_FORM}")
        image_processor = getattr(self.processor, "image_processor", self.processor)
        if getattr(image_processor, "apply_ocr", False):  # the words are known
            image_processor = image_processor.changed({"apply_ocr": False})
        return {name: image_processor([upright_rgb(image)])["pixel_values"][0]}
