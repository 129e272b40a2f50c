"""LayoutLMv2's config: the fields of transformers' LayoutLMv2Config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from intermodal.api import ModelConfig, Problem, Rule, fields, one_of

from intermodal_layoutlmv2.visual_config import DEFAULT, VisualConfig, problems

PAGE = 1000
"""Boxes are in thousandths of the page: their largest coordinate."""


def _detectron(value: Any) -> dict[str, Any]:
    if value is None:
        return dict(DEFAULT)
    if not isinstance(value, Mapping) or len(value) > 256 or not all(isinstance(key, str) for key in value):
        raise ValueError(value)
    return dict(value)


@dataclass(frozen=True, kw_only=True)
class LayoutLMv2Config(ModelConfig):
    """Config of LayoutLMv2 (arXiv:2012.14740).

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        max_position_embeddings: rows of the table of positions, and so the longest text, in tokens.
        max_2d_position_embeddings: rows of the tables of coordinates and sizes of boxes.
        max_rel_pos, rel_pos_bins: attention's bias by distance in tokens: from where on distances are alike, and into
            how many bins they fall. max_rel_2d_pos, rel_2d_pos_bins: the same by distance on the page.
        has_relative_attention_bias, has_spatial_attention_bias: whether there are these two.
        fast_qkv: the checkpoint holds queries, keys and values as one linear, whose keys have no bias.
        image_feature_pool_shape: rows and columns of the image's features, and their channels.
        coordinate_size, shape_size: widths of the embeddings of a coordinate, and of a width or height.
        has_visual_segment_embedding: one more vector is added to the image's features. A model that answers questions
            has it whatever this says, as in transformers.
        detectron2_config_args: the visual backbone, see `VisualConfig`.
    """

    model_types: ClassVar[tuple[str, ...]] = ("layoutlmv2",)
    checked_against: ClassVar[str] = "5.23.0"
    rules: ClassVar[Mapping[str, Rule]] = {
        "is_causal": Rule(one_of(None, False), "tokens then see only those before them", "This family looks both ways"),
    }
    inert_keys: ClassVar[Mapping[str, str]] = {
        "convert_sync_batchnorm": "it concerns training on several devices",
        "embedding_size": "only widths that are refused here need it",
        "output_past": "nothing reads it",
        "gradient_checkpointing": "it acts in training only",
        "tie_word_embeddings": "there is no head over the vocabulary",
        "bos_token_id": "nothing is generated",
        "eos_token_id": "nothing is generated",
    }

    vocab_size: int = fields.size(30522, most=1 << 26)
    hidden_size: int = fields.size(768, most=1 << 20)
    num_hidden_layers: int = fields.size(12, most=1 << 12)
    num_attention_heads: int = fields.size(12, most=1 << 14)
    intermediate_size: int = fields.size(3072, most=1 << 22)
    hidden_act: str = fields.activation("gelu")
    max_position_embeddings: int = fields.size(512, most=1 << 24)
    type_vocab_size: int = fields.size(2, most=1 << 20)
    layer_norm_eps: float = fields.number(1e-12, least=0.0, most=1.0)
    pad_token_id: int | None = fields.token_id(0)
    max_2d_position_embeddings: int = fields.size(1024, most=1 << 20)
    max_rel_pos: int = fields.size(128, most=1 << 20)
    rel_pos_bins: int = fields.size(32, most=1 << 16)
    fast_qkv: bool = fields.flag(True)
    max_rel_2d_pos: int = fields.size(256, most=1 << 20)
    rel_2d_pos_bins: int = fields.size(64, most=1 << 16)
    image_feature_pool_shape: tuple[int, ...] = fields.sizes((7, 7, 256), most=1 << 14)
    coordinate_size: int = fields.size(128, most=1 << 20)
    shape_size: int = fields.size(128, most=1 << 20)
    has_relative_attention_bias: bool = fields.flag(True)
    has_spatial_attention_bias: bool = fields.flag(True)
    has_visual_segment_embedding: bool = fields.flag(False)
    detectron2_config_args: Mapping[str, Any] = fields.checked(
        None, fields.Check("an object of detectron2's keys, or null", _detectron, dict), hash=False
    )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def context_length(self) -> int:
        """Tokens of the longest text."""
        return self.max_position_embeddings

    @property
    def image_tokens(self) -> int:
        """Places that the image takes behind those of the text."""
        return self.image_feature_pool_shape[0] * self.image_feature_pool_shape[1]

    @property
    def visual(self) -> VisualConfig:
        """The visual backbone."""
        return VisualConfig.read(self.detectron2_config_args)

    def resolve(self) -> None:
        """See `ModelConfig.resolve`."""
        if len(self.image_feature_pool_shape) == 2 and not any(problems(self.detectron2_config_args)):
            object.__setattr__(self, "image_feature_pool_shape", (*self.image_feature_pool_shape, self.visual.channels))

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        if found := list(problems(self.detectron2_config_args)):
            yield from found
            return
        heads, hidden, channels = self.num_attention_heads, self.hidden_size, self.visual.channels
        if hidden % heads:
            yield Problem("hidden_size", hidden, f"must be a multiple of num_attention_heads = {heads}")
        of_box = 4 * self.coordinate_size + 2 * self.shape_size
        if of_box != hidden:
            text = f"4 * coordinate_size + 2 * shape_size = {of_box} must be hidden_size = {hidden}"
            yield Problem("coordinate_size", self.coordinate_size, text)
        if len(self.image_feature_pool_shape) != 3 or self.image_feature_pool_shape[2] != channels:
            text = (
                f"expected rows, columns and {channels}, the channels of the visual backbone (detectron2_config_args)"
            )
            yield Problem("image_feature_pool_shape", list(self.image_feature_pool_shape), text)
            return
        if self.max_position_embeddings < self.image_tokens:
            text = f"the image takes {self.image_tokens} positions of the same table (image_feature_pool_shape)"
            yield Problem("max_position_embeddings", self.max_position_embeddings, text)
        if self.max_2d_position_embeddings <= PAGE:
            text = f"coordinates go up to {PAGE}, so there must be more rows than that"
            yield Problem("max_2d_position_embeddings", self.max_2d_position_embeddings, text)
        for enabled, bins, reach in (
            (self.has_relative_attention_bias, "rel_pos_bins", "max_rel_pos"),
            (self.has_spatial_attention_bias, "rel_2d_pos_bins", "max_rel_2d_pos"),
        ):
            exact = getattr(self, bins) // 4
            if enabled and exact == 0:
                yield Problem(bins, getattr(self, bins), "must be at least 4: near and far on either side")
            elif enabled and getattr(self, reach) <= exact:
                yield Problem(reach, getattr(self, reach), f"must be above {exact}, a quarter of {bins}")
