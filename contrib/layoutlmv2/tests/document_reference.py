"""A small LayoutLMv2 for documents as transformers makes it: model, tokenizer and image processor in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ["Invoice", "no.", "4711", "Total", "due:", "42.00", "EUR", "by", "May"]
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "invoice", "no", ".", "47", "##11", "total", "due", ":", "42"),
    *("00", "eu", "##r", "by", "may", "what", "is", "the", "##ay", "m", "?", "when"),
]
QUESTION = "What is the total?"


def boxes(count: int = len(WORDS), seed: int = 0) -> list[list[int]]:
    """Boxes of words, in thousandths of the page."""
    corners = np.sort(np.random.default_rng(seed).integers(0, 1001, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).tolist()


def page(seed: int = 0) -> Any:
    """A page's image."""
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (70, 50, 3)).astype("uint8"))


def processor(**options: Any) -> Any:
    """transformers' LayoutLMv2Processor, with Pillow."""
    import transformers
    from transformers.models.layoutlmv2.image_processing_pil_layoutlmv2 import LayoutLMv2ImageProcessorPil

    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    settings = {"apply_ocr": False, "size": {"height": 64, "width": 96}, **options}
    return transformers.LayoutLMv2Processor(
        LayoutLMv2ImageProcessorPil(**settings), transformers.LayoutLMv2Tokenizer(vocab=vocabulary, model_max_length=40)
    )


def save(folder: Path, fields: dict[str, Any], architecture: str = "LayoutLMv2ForQuestionAnswering") -> Any:
    """Write model, tokenizer and image processor into a folder, and give transformers' model."""
    from intermodal.testing.reference import make_reference, save_reference

    model = make_reference(architecture, json.loads(json.dumps(fields)))
    save_reference(model, folder)
    processor().save_pretrained(folder)
    return model
