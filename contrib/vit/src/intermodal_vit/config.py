"""ViT's config: the fields of transformers' ViTConfig, and what else of a config.json would change the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from intermodal.api import ModelConfig, Problem, Rule, fields, one_of

MOST_SIDE = 1 << 14


def _sides(value: Any) -> tuple[int, int]:
    side = fields.integer(1, MOST_SIDE).read
    height, width = value if isinstance(value, list | tuple) else (value, value)
    return side(height), side(width)


SIDES = fields.Check(
    f"a number of pixels from 1 to {MOST_SIDE}, or a list of the height's and the width's",
    _sides,
    lambda sides: sides[0] if sides[0] == sides[1] else list(sides),
)


@dataclass(frozen=True, kw_only=True)
class ViTConfig(ModelConfig):
    """Config of the Vision Transformer.

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        image_size: height and width of images in pixels, for which there are positions.
        patch_size: height and width of a patch in pixels. What is left of an image beside whole patches is not seen.
        num_channels: of images.
        qkv_bias: whether queries, keys and values have a bias.
        hidden_act: the feed-forward's activation. `gelu` is the exact form. `pooler_act`: the pooler's.
        pooler_output_size: width of the pooled first token; null and 0 are the width of the model.
        layer_norm_eps: what norms add to the variance; they compute in float32, where 1e-12 does not vanish.
    """

    model_types: ClassVar[tuple[str, ...]] = ("vit",)
    checked_against: ClassVar[str] = "5.23.0"
    inert_keys: ClassVar[Mapping[str, str]] = {
        "encoder_stride": "only the decoder of masked image modelling, which is refused, reads it",
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "images have no tokens"),
        "tie_word_embeddings": "there are no word embeddings",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        "is_causal": Rule(
            one_of(None, False), "patches then see only those before them", "This family looks both ways"
        ),
    }

    hidden_size: int = fields.size(768, most=1 << 20)
    num_hidden_layers: int = fields.size(12, most=1 << 12)
    num_attention_heads: int = fields.size(12, most=1 << 14)
    intermediate_size: int = fields.size(3072, most=1 << 22)
    hidden_act: str = fields.activation("gelu")
    layer_norm_eps: float = fields.number(1e-12, least=0.0, most=1.0)
    image_size: tuple[int, int] = fields.checked((224, 224), SIDES)
    patch_size: tuple[int, int] = fields.checked((16, 16), SIDES)
    num_channels: int = fields.size(3, most=1 << 10)
    qkv_bias: bool = fields.flag(True)
    pooler_output_size: int | None = fields.checked(None, fields.integer(0, 1 << 20), nullable=True)
    pooler_act: str = fields.activation("tanh")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches of an image of `image_size`."""
        return self.grid_of(*self.image_size)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image of so many pixels."""
        return height // self.patch_size[0], width // self.patch_size[1]

    def resolve(self) -> None:
        """See `ModelConfig.resolve`."""
        if not self.pooler_output_size:
            object.__setattr__(self, "pooler_output_size", self.hidden_size)

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        heads = self.num_attention_heads
        if self.hidden_size % heads:
            yield Problem("hidden_size", self.hidden_size, f"must be a multiple of num_attention_heads = {heads}")
        if 0 in self.grid:
            yield Problem("patch_size", list(self.patch_size), f"is larger than image_size = {list(self.image_size)}")
