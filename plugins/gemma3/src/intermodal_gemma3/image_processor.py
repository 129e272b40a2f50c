"""Gemma 3's image processor and processor: pan and scan, and the tokens that an image becomes in a prompt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from intermodal.api import IMAGE_CHECKS, ImageProcessor, Problem, Processor, fields, refusal

from intermodal_gemma3.image_config import GemmaConfig

if TYPE_CHECKING:
    import numpy as np
    from intermodal.api import Tokenizer


PAN_AND_SCAN = {
    "do_pan_and_scan": False,
    "pan_and_scan_min_crop_size": 256,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}


@dataclass(frozen=True, kw_only=True)
class GemmaImageProcessor(ImageProcessor):
    """Pixels for Gemma 3, as transformers' Gemma3ImageProcessor makes them with Pillow.

    Attributes:
        do_pan_and_scan: also look at crops of images that are longer than wide, or wider than long.
        pan_and_scan_min_crop_size: pixels along the shorter side of a crop, at least.
        pan_and_scan_max_num_crops: crops of one image, at most.
        pan_and_scan_min_ratio_to_activate: longer side by shorter side from which on there are crops.
    """

    type_name: ClassVar[str] = "Gemma3ImageProcessor"
    tells_crops: ClassVar[bool] = True
    checks: ClassVar[Mapping[str, Any]] = {
        **IMAGE_CHECKS,
        "do_pan_and_scan": fields.BOOLEAN,
        "pan_and_scan_min_crop_size": fields.integer(1, 1 << 14),
        "pan_and_scan_max_num_crops": fields.integer(1, 64),
        "pan_and_scan_min_ratio_to_activate": fields.real(least=0.0, most=1e6),
    }

    do_pan_and_scan: bool = False
    pan_and_scan_min_crop_size: int = 256
    pan_and_scan_max_num_crops: int = 4
    pan_and_scan_min_ratio_to_activate: float = 1.2

    def views(self, image: np.ndarray) -> list[np.ndarray]:
        """The image, and its crops. (H, W, 3) uint8 each."""
        rows, columns = self.grid(*image.shape[:2]) if self.do_pan_and_scan else (1, 1)
        if rows * columns == 1:
            return [image]
        height, width = math.ceil(image.shape[0] / rows), math.ceil(image.shape[1] / columns)
        starts = itertools.product(range(0, rows * height, height), range(0, columns * width, width))
        return [image, *(image[top : top + height, left : left + width] for top, left in starts)]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of crops: as many along the longer side as it is longer; (1, 1) for none."""
        long, short = max(height, width), min(height, width)
        least = self.pan_and_scan_min_crop_size
        if long / short < self.pan_and_scan_min_ratio_to_activate:
            return 1, 1
        wanted = min(math.floor(long / short + 0.5), long // least)
        crops = min(self.pan_and_scan_max_num_crops, max(2, wanted))
        if min(math.ceil(long / crops), short) < least:
            return 1, 1
        return (1, crops) if width >= height else (crops, 1)


class GemmaProcessor(Processor):
    """Prompts with images for Gemma 3: `<start_of_image>` stands where an image goes.

    As in transformers, a call decides on pan and scan, and not preprocessor_config.json:
    `processor(…, images_kwargs={"do_pan_and_scan": True})`.

    Raises:
        ConfigError: processor_config.json or the tokenizer contradicts config.json.
    """

    type_name: ClassVar[str] = "Gemma3Processor"
    images_kwargs: Mapping[str, Any] = PAN_AND_SCAN
    config: GemmaConfig

    def __init__(
        self, tokenizer: Tokenizer, image_processor: ImageProcessor, config: GemmaConfig, raw: Mapping[str, Any]
    ) -> None:
        super().__init__(tokenizer, image_processor, config, raw)
        tokens, side = config.mm_tokens_per_image, config.vision_config.image_size
        problems = []
        if raw.get("image_seq_length", tokens) != tokens:
            text = f"mm_tokens_per_image of config.json is {tokens}, and both count the tokens of an image"
            problems.append(Problem("image_seq_length", raw["image_seq_length"], text))
        if image_processor.do_resize and image_processor.size != (side, side):
            text = f"image_size of config.json is {side}: images of another size do not fit the model"
            problems.append(Problem("size", list(image_processor.size), text))
        names = {}
        for key in ("boi_token_index", "image_token_index", "eoi_token_index"):
            name = names[key] = tokenizer.backend.id_to_token(getattr(config, key))
            if name is None or tokenizer.encode(name, add_special_tokens=False) != [getattr(config, key)]:
                problems.append(Problem(key, getattr(config, key), "the tokenizer has no token of this id"))
        if problems:
            raise refusal("processor_config.json", problems)
        self.raw = {**self.raw, "image_seq_length": tokens}
        self.placeholder, self.token_id = names["boi_token_index"], config.image_token_index
        self.image = f"\n\n{self.placeholder}{names['image_token_index'] * tokens}{names['eoi_token_index']}\n\n"

    def expansion(self, crops: int) -> str:
        """See `Processor.expansion`. The words around crops are those that the model was trained with."""
        if not crops:
            return self.image
        closer = " ".join([self.image] * crops)
        return f"Here is the original image {self.image} and here are some crops to help you see better {closer}"
