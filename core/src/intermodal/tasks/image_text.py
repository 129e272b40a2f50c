"""Text from images and text: a causal language model whose backbone reads pixels beside tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from intermodal.errors import GenerationError
from intermodal.tasks.causal_lm import CausalLM


@keras.saving.register_keras_serializable(package="intermodal")
class ImageTextToText(CausalLM):
    """Called, it returns logits (batch, sequence, vocabulary) in float32.

    Beside `input_ids` it takes `pixel_values` (images, channels, height, width), in the order in which the tokens that
    they replace stand in the batch, row by row. The config says in `image_token_id` which token that is.
    """

    task = "image-text-to-text"
    prompt_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "token_type_ids")

    def check_prompt_inputs(
        self, rows: Sequence[Sequence[int]], ids: np.ndarray, given: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """What the backbone reads beside prompts that were passed as ids.

        Args:
            rows: the prompts without padding.
            ids: as they were passed, (B, T).
            given: `pixel_values`, and `token_type_ids` of the shape of `ids`, which say again what the ids say.

        Raises:
            GenerationError: types and ids contradict each other.
            InputError: there are not as many image tokens as the pixels replace.
        """
        types = given.get("token_type_ids")
        if types is not None and not np.array_equal(np.asarray(types) != 0, ids == self.config.image_token_id):
            raise GenerationError(
                f"token_type_ids are 1 where input_ids hold the image token {self.config.image_token_id}, and 0 "
                "elsewhere: generate takes no other."
            )
        if "pixel_values" not in given:
            return {}
        pixels = given["pixel_values"]
        pixels = np.asarray(getattr(pixels, "numpy", lambda: pixels)(), np.float32)
        flat = np.asarray([token for row in rows for token in row])[None]
        self.backbone.check_inputs({"input_ids": flat, "pixel_values": pixels})
        return {"pixel_values": pixels}
