"""LayoutLMv2's forward pass: tokens with their boxes and regions of the page's image, attending to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from intermodal.api import Backbone, InputError, Step, Tree, kernels, ops

from intermodal_layoutlmv2.config import PAGE, LayoutLMv2Config
from intermodal_layoutlmv2.distances import distance_bias
from intermodal_layoutlmv2.visual import DIVISOR, visual_features
from intermodal_layoutlmv2.visual_weights import BACKBONE
from intermodal_layoutlmv2.weights import POOLER, SEGMENT, WORDS

Tensor = Any


class LayoutLMv2Backbone(Backbone):
    """Hidden states of LayoutLMv2 (arXiv:2012.14740).

    Beside `input_ids` (B, T) it needs `bbox` (B, T, 4), the box of each token as left, top, right and bottom in
    thousandths of the page; and `image` (B, 3, height, width), blue, green and red from 0 to 255.
    """

    config: LayoutLMv2Config
    reads = (*Backbone.reads, "token_type_ids", "bbox", "image")

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`.

        Returns:
            `last_hidden_state` (B, T + regions of the image, hidden), tokens first, and `pooler_output` (B, hidden).
        """
        config = self.config
        image = self.image_embeddings(w, step)
        batch = ops.shape(step.token_ids)[0]
        boxes, positions = region_boxes(config), np.arange(config.image_tokens, dtype=np.int32)
        boxes = ops.broadcast_to(ops.convert_to_tensor(boxes)[None], (batch, *boxes.shape))
        boxes = ops.concatenate([ops.cast(step.inputs["bbox"], "int32"), boxes], axis=1)
        rows = ops.shape(step.positions)[0]
        positions = ops.broadcast_to(ops.convert_to_tensor(positions)[None], (rows, config.image_tokens))
        positions = ops.concatenate([ops.cast(step.positions, "int32"), positions], axis=1)
        bias = distance_bias(positions, boxes, w, config, self.compute_dtype)
        mask = attention_mask(step, config.image_tokens)
        x = ops.concatenate([self._text_embeddings(w, step), image], axis=1)
        for block in w["encoder.layer"]:
            x = self._norm(attention(block, x, mask, bias, config), block["attention.output.LayerNorm"])
            x = self._norm(feed_forward(block, x, config), block["output.LayerNorm"])
        outputs = {"last_hidden_state": x}
        if POOLER in w:
            outputs["pooler_output"] = kernels.tanh(kernels.linear(x[:, 0], w[POOLER]))
        return outputs

    def image_embeddings(self, w: Tree, step: Step) -> Tensor:
        """Regions of the image as they go into the encoder, (B, regions, hidden)."""
        config, dtype = self.config, self.compute_dtype
        rows, columns, _ = config.image_feature_pool_shape
        features = visual_features(
            step.inputs["image"],
            {name: part for name, part in w.items() if name.startswith(BACKBONE)},
            config=config.visual,
            shape=(rows, columns),
            dtype=dtype,
        )
        boxes, positions = region_boxes(config)[None], np.arange(config.image_tokens, dtype=np.int32)[None]
        x = kernels.linear(features, w["visual_proj"])
        x = x + kernels.embedding(ops.convert_to_tensor(positions), w["embeddings.position_embeddings"], dtype)
        x = x + self._box_embeddings(ops.convert_to_tensor(boxes), w)
        if SEGMENT in w:
            x = x + ops.cast(w[SEGMENT].weight, dtype)
        return self._norm(x, w["visual_LayerNorm"])

    def class_logits(self, w: Tree, step: Step, outputs: dict[str, Tensor]) -> Tensor:
        """See `Backbone.class_logits`: of the first token, and the averages of the image's regions before and after."""
        hidden, image = outputs["last_hidden_state"], self.image_embeddings(w, step)
        regions = hidden[:, -self.config.image_tokens :]
        pooled = ops.concatenate([hidden[:, 0], ops.mean(image, axis=1), ops.mean(regions, axis=1)], axis=-1)
        return kernels.linear(pooled, w["head"]["classifier"])

    def output_shapes(self, shape: tuple[int | None, ...]) -> dict[str, tuple[int | None, ...]]:
        """See `Backbone.output_shapes`."""
        batch, length = shape
        return super().output_shapes((batch, None if length is None else length + self.config.image_tokens))

    def tables(self) -> dict[str, int]:
        """See `Backbone.tables`."""
        config = self.config
        return {
            "input_ids": config.vocab_size,
            "token_type_ids": config.type_vocab_size,
            "position_ids": config.max_position_embeddings,
            "bbox": config.max_2d_position_embeddings,
        }

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """See `Backbone.check_inputs`: also boxes and pixels of the right shape, and a text that is not too long.

        Raises:
            InputError: names what was found and what was expected.
        """
        super().check_inputs(inputs)
        for name, what in (("bbox", "the boxes of the tokens"), ("image", "the page's pixels")):
            if name not in inputs:
                raise InputError(f"The model needs {name}, {what}: model.processor makes both of a page and its words.")
        ids, boxes, image = (shape_of(inputs[name]) for name in ("input_ids", "bbox", "image"))
        if boxes != (*ids, 4):
            raise InputError(f"bbox has shape {boxes}, expected {(*ids, 4)}: a box for each token of input_ids.")
        if len(image) != 4 or image[1] != 3 or any(side is None or side % DIVISOR or not side for side in image[2:]):
            raise InputError(
                f"image has shape {image}, expected (batch, 3, height, width), both sides multiples of {DIVISOR}."
            )
        limit = self.config.max_position_embeddings
        if ids[-1] is not None and ids[-1] > limit:
            raise InputError(
                f"The sequence has {ids[-1]} tokens, and the model has positions for {limit} "
                "(max_position_embeddings): cut it, with processor(…, truncation=True)."
            )
        check_boxes(inputs["bbox"])

    @property
    def pooled(self) -> bool:
        """See `Backbone.pooled`."""
        return f"{POOLER}.weight" in self.by_name

    def _text_embeddings(self, w: Tree, step: Step) -> Tensor:
        """The norm of the sum of what a token is, where it stands in the text, and where on the page."""
        types, dtype = step.inputs.get("token_type_ids"), self.compute_dtype
        if types is None:
            types = step.token_ids * 0
        x = kernels.embedding(step.token_ids, w[WORDS], dtype)
        x = x + kernels.embedding(step.positions, w["embeddings.position_embeddings"], dtype)
        x = x + self._box_embeddings(step.inputs["bbox"], w)
        x = x + kernels.embedding(types, w["embeddings.token_type_embeddings"], dtype)
        return self._norm(x, w["embeddings.LayerNorm"])

    def _box_embeddings(self, boxes: Tensor, w: Tree) -> Tensor:
        """(B, S, 4) → (B, S, hidden): four coordinates, height and width, side by side."""
        boxes = ops.cast(boxes, "int32")
        left, top, right, bottom = (boxes[..., side] for side in range(4))
        parts = [("x", left), ("y", top), ("x", right), ("y", bottom), ("h", bottom - top), ("w", right - left)]
        return ops.concatenate(
            [
                kernels.embedding(value, w[f"embeddings.{name}_position_embeddings"], self.compute_dtype)
                for name, value in parts
            ],
            axis=-1,
        )

    def _norm(self, x: Tensor, w: Any) -> Tensor:
        return kernels.layer_norm(x, w, self.config.layer_norm_eps)


def region_boxes(config: LayoutLMv2Config) -> np.ndarray:
    """Boxes (regions, 4) int32 of the image's regions, row by row."""
    rows, columns = config.image_feature_pool_shape[:2]
    y, x = (PAGE * np.arange(count + 1) // count for count in (rows, columns))
    boxes = [(x[j], y[i], x[j + 1], y[i + 1]) for i in range(rows) for j in range(columns)]
    return np.asarray(boxes, np.int32)


def attention_mask(step: Step, regions: int) -> Tensor | None:
    """All see all tokens that are no padding, and all regions."""
    if step.valid is None:
        return None
    batch, length = ops.shape(step.valid)[0], step.length + regions
    seen = ops.concatenate([ops.cast(step.valid, "bool"), ops.ones((batch, regions), dtype="bool")], axis=1)
    return kernels.attention_mask(seen, length, length, causal=False)


def attention(w: Tree, x: Tensor, mask: Any, bias: Tensor | None, config: LayoutLMv2Config) -> Tensor:
    """x plus attention of all to all. x (B, S, hidden), and so the result."""
    q, k, v = (
        kernels.split_heads(kernels.linear(x, w[f"attention.self.{name}"]), config.head_dim)
        for name in ("query", "key", "value")
    )
    y = kernels.attention(q, k, v, mask, config.head_dim**-0.5, bias)
    return kernels.linear(kernels.merge_heads(y), w["attention.output.dense"], residual=x)


def feed_forward(w: Tree, x: Tensor, config: LayoutLMv2Config) -> Tensor:
    """x plus two linears with an activation between. x (B, S, hidden), and so the result."""
    inner = kernels.linear(x, w["intermediate.dense"], activation=config.hidden_act)
    return kernels.linear(inner, w["output.dense"], residual=x)


def shape_of(value: Any) -> tuple[int | None, ...]:
    """The shape of an array, a tensor or nested lists; None where a symbolic tensor leaves it open."""
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def check_boxes(boxes: Any) -> None:
    """Refuse boxes that end before they begin. Only what is in the host's memory can be looked at.

    Raises:
        InputError: names the first.
    """
    if not isinstance(boxes, np.ndarray | list | tuple):
        return
    values = np.asarray(boxes)
    wrong = (values[..., 2] < values[..., 0]) | (values[..., 3] < values[..., 1])
    if wrong.any():
        first = values[wrong][0].tolist()
        raise InputError(f"bbox holds {first}: a box is left, top, right and bottom, in thousandths of the page.")
