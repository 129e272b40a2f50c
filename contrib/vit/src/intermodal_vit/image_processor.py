"""ViT's image processor: the defaults of transformers' class, for what preprocessor_config.json does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intermodal.api import ImageProcessor


@dataclass(frozen=True, kw_only=True)
class ViTImageProcessor(ImageProcessor):
    """Pixels for ViT, as transformers' ViTImageProcessor makes them with Pillow: 224 x 224, bilinear, from -1 to 1."""

    type_name: ClassVar[str] = "ViTImageProcessor"
