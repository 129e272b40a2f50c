"""ViT's forward pass: patches as tokens, and pre-norm blocks of attention to all of them (arXiv:2010.11929)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from intermodal.api import Backbone, InputError, Step, Tree, kernels, ops

from intermodal_vit.config import ViTConfig
from intermodal_vit.positions import resized
from intermodal_vit.weights import CLASS_TOKEN, CLASSIFIER, PATCHES, POOLER, POSITIONS

Tensor = Any

INTERPOLATE = "interpolate_pos_encoding"


class ViTBackbone(Backbone):
    """Hidden states of a class token and of an image's patches, row by row.

    It reads `pixel_values` (batch, channels, height, width), and an `attention_mask` (batch, 1 + patches) where patches
    are to be left out.

    Attributes:
        interpolate_pos_encoding: take images of any size, the positions stretched to their patches; a call by keywords
            may say so itself. Without it another size than config.json's is refused.
    """

    config: ViTConfig
    main_input = "pixel_values"
    reads = ("pixel_values", "attention_mask", INTERPOLATE)
    flags = (INTERPOLATE,)
    interpolate_pos_encoding: bool = False

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`.

        Returns:
            `last_hidden_state` (B, 1 + patches, hidden), after the last norm, and `pooler_output` (B, pooler width)
            where the checkpoint has a pooler.

        Raises:
            InputError: an image is of another size than the positions are for.
        """
        config = self.config
        x = self._embed(w, step)
        mask = kernels.attention_mask(step.valid, x.shape[1], x.shape[1], causal=False)
        for number, block in enumerate(w["encoder.layer"]):
            x = x + attention(block, self._norm(x, block["layernorm_before"]), step, number, mask, config)
            x = x + feed_forward(block, self._norm(x, block["layernorm_after"]), config)
        x = self._norm(x, w["layernorm"])
        outputs = {"last_hidden_state": x}
        if POOLER in w:
            outputs["pooler_output"] = kernels.linear(x[:, 0], w[POOLER], activation=config.pooler_act)
        return outputs

    def class_logits(self, w: Tree, step: Step, outputs: dict[str, Tensor]) -> Tensor:
        """See `Backbone.class_logits`. The classifier reads the class token, past any pooler."""
        return kernels.linear(outputs["last_hidden_state"][:, 0], w["head"][CLASSIFIER])

    @property
    def pooled(self) -> bool:
        """See `Backbone.pooled`."""
        return f"{POOLER}.weight" in self.by_name

    def output_shapes(self, shape: tuple[int | None, ...]) -> dict[str, tuple[int | None, ...]]:
        """See `Backbone.output_shapes`."""
        batch, _, height, width = shape
        known = height is not None and width is not None
        rows, columns = self.config.grid_of(height, width) if known else self.config.grid
        length = 1 + rows * columns if known or not self.interpolate_pos_encoding else None
        shapes: dict[str, tuple[int | None, ...]] = {"last_hidden_state": (batch, length, self.config.hidden_size)}
        return {**shapes, "pooler_output": (batch, self.config.pooler_output_size)} if self.pooled else shapes

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """See `Backbone.check_inputs`: pixels of the right shape, not yet in the order (height, width, channels).

        Raises:
            InputError: names what was found and what was expected.
        """
        super().check_inputs(inputs)
        shape, channels = tuple(np.shape(inputs["pixel_values"])), self.config.num_channels
        if len(shape) != 4 or shape[1] != channels:
            raise InputError(
                f"pixel_values has shape {shape}, expected (batch, {channels}, height, width), as "
                "model.processor(images) gives it."
            )

    def _embed(self, w: Tree, step: Step) -> Tensor:
        """The class token and the patches, each with its position. (B, 1 + patches, hidden)."""
        pixels, dtype = step.inputs["pixel_values"], self.compute_dtype
        height, width = pixels.shape[2:]
        stretched = step.inputs.get(INTERPOLATE, self.interpolate_pos_encoding)
        if not stretched and (height, width) != self.config.image_size:
            raise InputError(
                f"pixel_values are {height} x {width}, and the model has positions for images of "
                f"{' x '.join(map(str, self.config.image_size))}: resize them, as model.processor does, or pass "
                f"{INTERPOLATE}=True (for fit and predict, set model.backbone.{INTERPOLATE} = True)."
            )
        grid = self.config.grid_of(height, width)
        x = kernels.linear(patches(ops.cast(pixels, dtype), grid, self.config.patch_size), w[PATCHES])
        first = ops.cast(w[CLASS_TOKEN].weight, dtype)
        x = ops.concatenate([ops.broadcast_to(first, (ops.shape(x)[0], 1, first.shape[-1])), x], axis=1)
        table = ops.cast(w[POSITIONS].weight, dtype)
        return x + (table if grid == self.config.grid else resized(table, self.config.grid, grid))

    def _norm(self, x: Tensor, w: Any) -> Tensor:
        return kernels.layer_norm(x, w, self.config.layer_norm_eps)


def patches(pixels: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Patches row by row, each flattened as a convolution's kernel is: (B, C, H, W) → (B, patches, C·height·width).

    Pixels beyond the last whole patch are left out.
    """
    (rows, columns), (height, width), channels = grid, size, pixels.shape[1]
    pixels = pixels[:, :, : rows * height, : columns * width]
    cut = ops.reshape(pixels, (-1, channels, rows, height, columns, width))
    return ops.reshape(ops.transpose(cut, (0, 2, 4, 1, 3, 5)), (-1, rows * columns, channels * height * width))


def attention(w: Tree, x: Tensor, step: Step, number: int, mask: Any, config: ViTConfig) -> Tensor:
    """Attention of every token to every token. x (B, T, hidden), and so the result."""
    q, k, v = (
        kernels.split_heads(kernels.linear(x, w[f"attention.attention.{name}"]), config.head_dim)
        for name in ("query", "key", "value")
    )
    y = step.attend(number, q, k, v, mask=mask, scale=config.head_dim**-0.5)
    return kernels.linear(kernels.merge_heads(y), w["attention.output.dense"])


def feed_forward(w: Tree, x: Tensor, config: ViTConfig) -> Tensor:
    """Two linears with an activation in between. x (B, T, hidden), and so the result."""
    inner = kernels.linear(x, w["intermediate.dense"], activation=config.hidden_act)
    return kernels.linear(inner, w["output.dense"])
