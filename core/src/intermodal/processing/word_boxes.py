"""Words with their boxes on a page: read from an image by OCR, and brought to the tokens that words become.

A box is left, top, right and bottom, in thousandths of the page's width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from intermodal.errors import InputError
from intermodal.processing.images import pillow

if TYPE_CHECKING:
    import numpy as np

    from intermodal.processing.tokenizer import Tokenizer

Box = Sequence[int]

PAGE = 1000
NOWHERE = (0, 0, 0, 0)
CORNER = (PAGE, PAGE, PAGE, PAGE)


def read_words(image: np.ndarray, lang: str | None = None, config: str = "") -> tuple[list[str], list[list[int]]]:
    """The words on a page and their boxes, as the program Tesseract reads them.

    Args:
        image: (height, width, 3) uint8.
        lang: languages as Tesseract names them (`"eng+deu"`); English where None.
        config: more of its options (`"--psm 6"`).

    Raises:
        InputError: Tesseract or pytesseract is not installed, or it refuses the image or the options.
    """
    try:
        import pytesseract  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            'Words are read from an image by Tesseract: pip install "intermodal[ocr]", and install the program itself '
            "(apt-get install tesseract-ocr, brew install tesseract). Or pass words and boxes that were read before."
        ) from None
    page = pillow().Image.fromarray(image)
    try:
        found = pytesseract.image_to_data(page, lang=lang, config=config, output_type="dict")
    except pytesseract.TesseractNotFoundError:
        raise InputError(
            "The program tesseract is not installed, or not on the path (apt-get install tesseract-ocr, brew install "
            "tesseract). Or pass words and boxes that were read before."
        ) from None
    except pytesseract.TesseractError as error:
        raise InputError(f"Tesseract cannot read the image (lang={lang!r}, config={config!r}): {error}") from error
    keys = ("text", "left", "top", "width", "height")
    words = [row for row in zip(*(found[key] for key in keys), strict=True) if row[0].strip()]
    sides = (page.width, page.height, page.width, page.height)
    corners = [(left, top, left + width, top + height) for _, left, top, width, height in words]
    return [word for word, *_ in words], [
        [int(PAGE * (place / side)) for place, side in zip(box, sides, strict=True)] for box in corners
    ]


def token_boxes(encodings: Sequence[Any], boxes: Sequence[Sequence[Box]], tokenizer: Tokenizer) -> list[list[Box]]:
    """The box of each token of each row: its word's, and nowhere on the page for a question before the words.

    tokenizer_config.json may say other boxes for special tokens and questions (`cls_token_box`, `sep_token_box`,
    `pad_token_box`).

    Args:
        encodings: of a tokenizer's call with words; `Encoded.encodings`.
        boxes: for each of them, those of its words. The words are the second text of a pair, else the only one.
        tokenizer: the tokenizer.
    """
    special = {
        tokenizer.cls_token_id: tokenizer.config.get("cls_token_box", NOWHERE),
        tokenizer.sep_token_id: tokenizer.config.get("sep_token_box", CORNER),
    }
    nowhere = tokenizer.config.get("pad_token_box", NOWHERE)
    rows = []
    for encoding, of_words in zip(encodings, boxes, strict=True):
        words = 1 if 1 in encoding.sequence_ids else 0
        row = []
        for index, word, sequence in zip(encoding.ids, encoding.word_ids, encoding.sequence_ids, strict=True):
            found = special.get(index, nowhere) if word is None else of_words[word] if sequence == words else nowhere
            row.append(list(found))
        rows.append(row)
    return rows


def check_word_boxes(words: Any, boxes: Any) -> None:
    """Refuse words and boxes of one page that do not belong together.

    Raises:
        InputError: there are not as many boxes as words, or one is no box.
    """
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise InputError(f"The words of a page are a list of strings; got {type(words).__name__}.")
    if not hasattr(boxes, "__len__") or len(boxes) != len(words):
        count = len(boxes) if hasattr(boxes, "__len__") else type(boxes).__name__
        raise InputError(f"There are {len(words)} words and {count} boxes: each word has one.")
    for word, box in zip(words, boxes, strict=True):
        values = list(box) if hasattr(box, "__iter__") else [box]
        sound = len(values) == 4 and all(0 <= value <= PAGE and int(value) == value for value in values)
        if not sound or values[2] < values[0] or values[3] < values[1]:
            raise InputError(
                f"The box of {word!r} is {box!r}: expected left, top, right and bottom, integers from 0 to {PAGE}, in "
                "thousandths of the page's width and height."
            )
