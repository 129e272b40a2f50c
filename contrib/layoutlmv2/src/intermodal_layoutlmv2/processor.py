"""LayoutLMv2's image processor and processor: a page's pixels, and its words with their boxes as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from intermodal.api import (
    IMAGE_CHECKS,
    Encoded,
    ImageProcessor,
    InputError,
    array_as,
    as_tensors,
    check_word_boxes,
    fields,
    read_image,
    read_words,
    token_boxes,
)

if TYPE_CHECKING:
    import numpy as np
    from intermodal.api import Tokenizer

NO_LABEL = -100
"""The label of tokens that no loss counts."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise ValueError(value)
    return value


@dataclass(frozen=True, kw_only=True)
class LayoutLMv2ImageProcessor(ImageProcessor):
    """Pixels for LayoutLMv2, as transformers' LayoutLMv2ImageProcessor makes them with Pillow: blue, green and red.

    Attributes:
        apply_ocr: also read the page's words and their boxes, with Tesseract.
        ocr_lang: languages of the page, as Tesseract names them; English where None.
        tesseract_config: more of Tesseract's options.
    """

    type_name: ClassVar[str] = "LayoutLMv2ImageProcessor"
    checks: ClassVar[Mapping[str, Any]] = {
        **{name: IMAGE_CHECKS[name] for name in ("do_convert_rgb", "do_resize", "size", "resample")},
        "apply_ocr": fields.BOOLEAN,
        "ocr_lang": fields.Check("a string, or null", _text),
        "tesseract_config": fields.Check("a string", _text),
    }

    do_rescale: bool = False
    do_normalize: bool = False
    apply_ocr: bool = True
    ocr_lang: str | None = None
    tesseract_config: str = ""

    def __call__(self, images: Any) -> dict[str, Any]:
        """Pixels of a page or a list of pages.

        Returns:
            `pixel_values` (pages, 3, height, width) uint8; and with `apply_ocr` `words` and `boxes`, a list for each
            page.

        Raises:
            InputError: a page cannot be read; or Tesseract is not installed, or refuses it.
        """
        listed = list(images) if isinstance(images, list | tuple) else [images]
        found: dict[str, Any] = super().__call__(listed)
        if self.apply_ocr:
            pages = [read_words(read_image(image), self.ocr_lang, self.tesseract_config) for image in listed]
            found["words"], found["boxes"] = ([page[part] for page in pages] for part in (0, 1))
        return found

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 → (3, height, width) uint8, blue first."""
        return super().pixels(image)[::-1].astype("uint8")


class LayoutLMv2Processor:
    """Pages with their words and boxes, and questions about them, as LayoutLMv2 takes them.

    Called with transformers' arguments, it returns what transformers' LayoutLMv2Processor returns.

    Args:
        tokenizer: of the checkpoint.
        image_processor: of the checkpoint.
        config: the family's typed config.
        raw: processor_config.json.
    """

    type_name = "LayoutLMv2Processor"
    model_input_names = ("input_ids", "bbox", "token_type_ids", "attention_mask", "image")

    def __init__(
        self, tokenizer: Tokenizer, image_processor: LayoutLMv2ImageProcessor, config: Any, raw: Mapping[str, Any]
    ) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.class_name = "LayoutLMv2Tokenizer"  # transformers' own takes words with boxes
        self.image_processor = image_processor
        self.config = config
        self.raw = dict(raw)

    def __call__(
        self,
        images: Any,
        text: str | Sequence[Any] | None = None,
        text_pair: Sequence[Any] | None = None,
        boxes: Sequence[Any] | None = None,
        word_labels: Sequence[Any] | None = None,
        *,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_tensors: str | None = None,
        **options: Any,
    ) -> Encoded:
        """Encode a page, or a list of pages.

        Args:
            images: a page's image, or a list of them; an image is what `intermodal.api.read_image` takes.
            text: the page's words; or, with `text_pair`, a question. For several pages, a list. With `apply_ocr`, a
                question, or None.
            text_pair: the page's words, where `text` is a question.
            boxes: of each word, in thousandths of the page.
            word_labels: an integer for each word; the first token of a word has it, unless tokenizer_config.json says
                `only_label_first_subword: false`.
            return_overflowing_tokens: what truncation cuts off becomes rows of its own, each with its page's image; as
                in transformers, `return_offsets_mapping` has to be true, too.
            return_offsets_mapping: also return where in its word each token is.
            return_tensors: as `Tokenizer.__call__` takes it, and so are `options`.

        Returns:
            What the tokenizer returns, `bbox` (rows, tokens, 4), `image` (rows, 3, height, width), and `labels` where
            there are `word_labels`.

        Raises:
            InputError: pages, words, boxes and labels do not belong together; or a page cannot be read.
            TokenizerError: an argument is unknown or does not fit.
        """
        if return_overflowing_tokens and not return_offsets_mapping:
            raise InputError(
                "return_overflowing_tokens=True also needs return_offsets_mapping=True, in transformers too."
            )
        seen = self._seen(images, text, boxes, word_labels)
        if self.image_processor.apply_ocr and text_pair is None:
            asked, text = text, None if text is None else [text] if isinstance(text, str) else text
            text, text_pair = (seen["words"], None) if asked is None else (text, seen["words"])
        boxes = seen["boxes"] if boxes is None else boxes
        questions, words, single = pages_of(text, text_pair)
        boxes, labels = ([value] if single and value is not None else value for value in (boxes, word_labels))
        check_pages(len(seen["pixel_values"]), questions, words, boxes, labels)
        first, second = (words, None) if questions is None else ([question.split() for question in questions], words)
        encoded = self.tokenizer(
            first,
            second,
            is_split_into_words=True,
            return_overflowing_tokens=return_overflowing_tokens,
            return_offsets_mapping=return_offsets_mapping,
            **options,
        )
        pages = encoded.get("overflow_to_sample_mapping", range(len(words)))
        rows = {**encoded, "bbox": token_boxes(encoded.encodings, [boxes[page] for page in pages], self.tokenizer)}
        if labels is not None:
            rows["labels"] = self._labels(encoded.encodings, [labels[page] for page in pages])
        image = seen["pixel_values"][list(pages)]
        if return_tensors is not None:
            rows = {**as_tensors(rows, return_tensors), "image": array_as(image, return_tensors)}
        else:
            if single and not return_overflowing_tokens:
                rows = {name: values[0] for name, values in rows.items()}
            rows["image"] = list(image)
        return Encoded(rows, encoded.encodings)

    def files(self) -> dict[str, Any]:
        """The files that transformers reads to the same processor, beside the tokenizer's: name → content."""
        return {
            **self.image_processor.files(),
            "processor_config.json": {**self.raw, "processor_class": self.type_name},
        }

    def _seen(self, images: Any, text: Any, boxes: Any, word_labels: Any) -> dict[str, Any]:
        """What the image processor makes of the pages, once it is clear that words and boxes come from one place."""
        if self.image_processor.apply_ocr:
            given = [name for name, value in (("boxes", boxes), ("word_labels", word_labels)) if value is not None]
            if given:
                raise InputError(
                    f"{' and '.join(given)} belong to words that are known, and this processor reads words from the "
                    "page (apply_ocr): load it with apply_ocr=False, or leave them out."
                )
        elif text is None or boxes is None:
            raise InputError(
                "The page's words and boxes are needed: processor(image, words, boxes=boxes), or with a question "
                "processor(image, question, words, boxes=boxes). With apply_ocr=True they are read from the page."
            )
        return self.image_processor(images)

    def _labels(self, encodings: Sequence[Any], labels: Sequence[Sequence[int]]) -> list[list[int]]:
        none = self.tokenizer.config.get("pad_token_label", NO_LABEL)
        first_only = self.tokenizer.config.get("only_label_first_subword", True)
        return [
            [
                none if word is None or (first_only and offset[0]) else of_words[word]
                for word, offset in zip(encoding.word_ids, encoding.offsets, strict=True)
            ]
            for encoding, of_words in zip(encodings, labels, strict=True)
        ]


def pages_of(text: Any, text_pair: Any) -> tuple[list[str] | None, list[Any], bool]:
    """Questions and words, a list of each with an entry for each page, and whether it was a single page.

    Raises:
        InputError: they are something else.
    """
    if text_pair is None:
        if not isinstance(text, list | tuple):
            raise InputError(
                "Without text_pair, text is the words of a page, a list of strings, or a list of such lists."
            )
        single = all(isinstance(word, str) for word in text)
        return None, [text] if single else list(text), single
    single = isinstance(text, str)
    questions, words = ([text], [text_pair]) if single else (list(text), list(text_pair))
    if len(questions) != len(words) or not all(isinstance(question, str) for question in questions):
        raise InputError(f"There are {len(questions)} questions, strings all, for the words of {len(words)} pages.")
    return questions, words, single


def check_pages(images: int, questions: Any, words: Sequence[Any], boxes: Any, labels: Any) -> None:
    """Refuse pages whose parts do not belong together.

    Raises:
        InputError: names what differs.
    """
    for what, found in (("images", images), ("lists of boxes", len(boxes)), ("words of pages", len(words))):
        if found != len(words):
            raise InputError(f"There are {found} {what} for the words of {len(words)} pages.")
    for page, boxes_of_page in zip(words, boxes, strict=True):
        check_word_boxes(page, boxes_of_page)
    if labels is None:
        return
    if questions is not None:
        raise InputError("word_labels label the words of a page, and a question beside them has none: leave it out.")
    if [len(labels_of_page) for labels_of_page in labels] != [len(page) for page in words]:
        raise InputError("word_labels has one label for each word.")
