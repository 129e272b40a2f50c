"""Gemma 3 with images: soft tokens in the place of image tokens, which see all of their image (arXiv:2503.19786)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from intermodal.api import Backbone, InputError, Step, Tree, ops

from intermodal_gemma3.config import SLIDING
from intermodal_gemma3.image_config import GemmaConfig
from intermodal_gemma3.model import decode, embed, refuse_float16
from intermodal_gemma3.vision import image_features

Tensor = Any


class GemmaImageBackbone(Backbone):
    """Hidden states of Gemma 3's text model, of text and images.

    Beside `input_ids` it reads `pixel_values` (images, channels, image_size, image_size), in the order of the image
    tokens, row by row; and `token_type_ids` (B, T), 1 for image tokens. Where pixels come without types, the ids tell.

    Raises:
        InputError: it would compute in float16, where its residual stream overflows.
    """

    config: GemmaConfig

    def __init__(self, config: Any, weight_map: Any, supply: Any, policy: Any, **options: Any) -> None:
        refuse_float16(policy.compute_dtype)
        super().__init__(config, weight_map, supply, policy, **options)

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`. Returns `last_hidden_state` (B, T, hidden), after the last norm."""
        config, text, dtype = self.config, self.config.text_config, self.compute_dtype
        ids, pixels, types = step.token_ids, step.inputs.get("pixel_values"), step.inputs.get("token_type_ids")
        is_image = ops.equal(ids, config.image_token_index)
        if config.image_token_index >= text.vocab_size:  # it has no row of its own
            ids = ops.where(is_image, 0, ids)
        x = embed(ids, w, text, dtype)
        if pixels is not None:
            x = replace(x, is_image, image_features(pixels, w, config, dtype))
        blocks = None
        if types is not None or pixels is not None:
            blocks = image_blocks(is_image if types is None else ops.equal(types, 1))
        masks = {
            kind: step.mask(window=text.sliding_window if kind == SLIDING else None, blocks=blocks)
            for kind in dict.fromkeys(text.layer_types)
        }
        return {"last_hidden_state": decode(x, w, step, text, masks, dtype)}

    def cache_shape(self) -> tuple[int, int, int]:
        """See `Backbone.cache_shape`."""
        text = self.config.text_config
        return text.num_hidden_layers, text.num_key_value_heads, text.head_dim

    def tables(self) -> dict[str, int]:
        """See `Backbone.tables`. The image token needs no row."""
        return {"input_ids": max(self.config.vocab_size, self.config.image_token_index + 1)}

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """See `Backbone.check_inputs`: pixels of the right size, and as many image tokens as they become.

        Raises:
            InputError: names what was found and what was expected.
        """
        super().check_inputs(inputs)
        pixels, ids = inputs.get("pixel_values"), inputs["input_ids"]
        if pixels is None:
            return
        vision, shape = self.config.vision_config, tuple(pixels.shape)
        expected = (vision.num_channels, vision.image_size, vision.image_size)
        if len(shape) != 4 or shape[1:] != expected:
            raise InputError(f"pixel_values has shape {shape}, expected (images, {', '.join(map(str, expected))}).")
        if not isinstance(ids, np.ndarray | list | tuple) or shape[0] is None:
            return
        found, tokens = int(np.sum(np.asarray(ids) == self.config.image_token_index)), self.config.mm_tokens_per_image
        if found != shape[0] * tokens:
            raise InputError(
                f"input_ids hold the image token {self.config.image_token_index} {found} times; {shape[0]} image(s) in "
                f"pixel_values become {tokens} tokens each, {shape[0] * tokens} in all. model.processor writes them."
            )


def replace(x: Tensor, is_image: Tensor, features: Tensor) -> Tensor:
    """Put features in the place of embeddings, in order, row by row. x (B, T, hidden), features (N, tokens, hidden).

    They are not scaled as embeddings are.
    """
    rows = ops.reshape(features, (-1, features.shape[-1]))
    order = ops.cumsum(ops.cast(ops.reshape(is_image, (-1,)), "int32")) - 1
    order = ops.reshape(ops.clip(order, 0, ops.shape(rows)[0] - 1), ops.shape(is_image))
    return ops.where(is_image[..., None], ops.take(rows, order, axis=0), x)


def image_blocks(is_image: Tensor) -> Tensor:
    """Which image a token is of, counted in its row; -1 for text. (B, T) true at image tokens → (B, T) int32."""
    image = ops.cast(is_image, "int32")
    before = ops.pad(image[:, :-1], [(0, 0), (1, 0)])
    number = ops.cumsum(image * (1 - before), axis=1) - 1
    return ops.where(is_image, number, -1)
