"""Where ViT checkpoints keep their weights."""

from __future__ import annotations

import math
from dataclasses import replace

from intermodal.api import Alias, Flatten, Ignored, Weight, WeightMap, head, linear, norm, repeat

from intermodal_vit.config import ViTConfig

CLASS_TOKEN = "embeddings.cls_token"
POSITIONS = "embeddings.position_embeddings"
PATCHES = "embeddings.patch_embeddings.projection"
POOLER = "pooler.dense"
CLASSIFIER = "classifier"

MASK_TOKEN = Ignored(r"(vit\.)?embeddings\.mask_token", "it stands for masked patches, of which there are none here")
UNUSED_POOLER = Ignored(r"(vit\.)?pooler\.dense\.(weight|bias)", "the pooler, which this task does not use")
PAINTER = Ignored(r"decoder\.0\.(weight|bias)", "it paints masked patches, of which there are none here")


def weight_map(config: ViTConfig, task: str) -> WeightMap:
    """The weight map of a config for a task.

    The position table has a row for the class token and one for each patch.
    """
    hidden, feed_forward = config.hidden_size, config.intermediate_size
    qkv = [
        weight
        for name in ("query", "key", "value")
        for weight in linear(
            f"attention.attention.{name}", hidden, hidden, bias=config.qkv_bias, axes=("heads", "hidden")
        )
    ]
    block = [
        *norm("layernorm_before", hidden, bias=True),
        *qkv,
        *linear("attention.output.dense", hidden, hidden, bias=True, axes=("hidden", "heads")),
        *norm("layernorm_after", hidden, bias=True),
        *linear("intermediate.dense", hidden, feed_forward, bias=True, axes=("feed_forward", "hidden")),
        *linear("output.dense", feed_forward, hidden, bias=True, axes=("hidden", "feed_forward")),
    ]
    classifies = task == "image-classification"
    return WeightMap(
        weights=(
            Weight(CLASS_TOKEN, (1, 1, hidden), "table", (None, None, "hidden")),
            Weight(POSITIONS, (1, 1 + math.prod(config.grid), hidden), "table", (None, None, "hidden")),
            *patch_embedding(config),
            *repeat("encoder.layer", config.num_hidden_layers, block),
            *norm("layernorm", hidden, bias=True),
            *([] if classifies else pooler(config)),
            *(head(linear(CLASSIFIER, hidden, config.num_labels, bias=True)) if classifies else []),
        ),
        prefix="vit.",
        prefixes=("vit.", ""),
        ignored=(MASK_TOKEN, PAINTER, *([UNUSED_POOLER] if classifies else [])),
    )


def patch_embedding(config: ViTConfig) -> list[Weight]:
    """A convolution over patches that do not overlap, as the linear of flattened patches that it is."""
    kernel = (config.hidden_size, config.num_channels, *config.patch_size)
    weight, bias = linear(PATCHES, math.prod(kernel[1:]), config.hidden_size, bias=True, axes=("hidden", None))
    stored = Alias(weight.name, Flatten(kernel))
    return [replace(weight, role="table", aliases={"huggingface": stored}), bias]


def pooler(config: ViTConfig) -> list[Weight]:
    """A dense layer on the class token, which a checkpoint may lack."""
    assert config.pooler_output_size is not None  # `ViTConfig.resolve` has set it
    weights = linear(POOLER, config.hidden_size, config.pooler_output_size, bias=True)
    return [replace(weight, if_absent="left out") for weight in weights]
