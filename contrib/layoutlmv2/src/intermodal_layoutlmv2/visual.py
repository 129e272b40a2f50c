"""LayoutLMv2's visual backbone: a ResNeXt (arXiv:1611.05431) and a feature pyramid over it (arXiv:1612.03144).

It is what detectron2 builds for Mask R-CNN, as far as the pyramid's finest level. Activations are channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from intermodal.api import Tree, kernels, ops

from intermodal_layoutlmv2.visual_config import VisualConfig
from intermodal_layoutlmv2.visual_weights import BACKBONE, BOTTOM_UP, LEVELS

Tensor = Any

EPSILON = 1e-5
"""What batch norms add to the variance; no config says it."""

DIVISOR = 32
"""The coarsest level has so many pixels of the image along a side of one of its own."""


def _visual_features(image: Tensor, w: Tree, config: VisualConfig, shape: tuple[int, int], dtype: str) -> Tensor:
    """Features of a page's regions, row by row.

    Args:
        image: (B, 3, height, width), blue, green and red from 0 to 255, both sides multiples of 32.
        w: the tensors of the visual backbone.
        config: of the visual backbone.
        shape: rows and columns of regions.
        dtype: what is computed in.

    Returns:
        (B, rows · columns, channels).
    """
    x = ops.transpose(ops.cast(image, "float32"), (0, 2, 3, 1))
    x = (x - np.asarray(config.pixel_mean, np.float32)) / np.asarray(config.pixel_std, np.float32)
    levels = resnet(ops.cast(x, dtype), w, config)
    x = average_regions(finest_level(levels, w), shape[0], shape[1])
    return ops.reshape(x, (-1, shape[0] * shape[1], config.channels))


visual_features = kernels.as_one(_visual_features, static=("config", "shape", "dtype"))
"""Compiled as one: each of a hundred convolutions by itself takes JAX half a minute at the first call."""


def resnet(x: Tensor, w: Tree, config: VisualConfig) -> list[Tensor]:
    """What leaves each of the four stages. x (B, height, width, 3)."""
    x = ops.relu(normed(x, w, f"{BOTTOM_UP}.stem.conv1", stride=2, padding=3))
    # Zeros at the border are never the largest, or as large: what comes in is not negative.
    x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    x = ops.max_pool(x, 3, strides=2, padding="valid", data_format="channels_last")
    levels = []
    for name, *_ in config.stages:
        for number, block in enumerate(w[f"{BOTTOM_UP}.{name}"]):
            halves = number == 0 and name != "res2"
            x = bottleneck(x, block, 2 if halves else 1, config.stride_in_1x1)
        levels.append(x)
    return levels


def bottleneck(x: Tensor, w: Tree, stride: int, stride_in_1x1: bool) -> Tensor:
    """A block of three convolutions beside a shortcut. x (B, H, W, in) → (B, H / stride, W / stride, out)."""
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    y = ops.relu(normed(x, w, "conv1", stride=first))
    y = ops.relu(normed(y, w, "conv2", stride=second, padding=1))
    y = normed(y, w, "conv3")
    return ops.relu(y + (normed(x, w, "shortcut", stride=stride) if "shortcut" in w else x))


def normed(x: Tensor, w: Tree, name: str, *, stride: int = 1, padding: int = 0) -> Tensor:
    """A convolution, then a batch norm with its statistics of training."""
    x = kernels.conv2d(x, w[name], stride=stride, padding=padding)
    learnt, mean, variance = (w[f"{name}.norm{part}"] for part in ("", ".running_mean", ".running_var"))
    scale = ops.cast(learnt.weight, "float32") * ops.rsqrt(ops.cast(variance.weight, "float32") + EPSILON)
    shift = ops.cast(learnt.bias, "float32") - ops.cast(mean.weight, "float32") * scale
    return x * ops.cast(scale, x.dtype) + ops.cast(shift, x.dtype)


def finest_level(levels: Sequence[Tensor], w: Tree) -> Tensor:
    """The pyramid's finest level: coarse levels, enlarged, are added to finer ones. (B, H/4, W/4, channels)."""
    x = None
    for number, level in reversed(list(zip(LEVELS, levels, strict=True))):
        lateral = kernels.conv2d(level, w[f"{BACKBONE}.fpn_lateral{number}"])
        x = lateral if x is None else lateral + ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)
    return kernels.conv2d(x, w[f"{BACKBONE}.fpn_output{LEVELS[0]}"], padding=1)


def average_regions(x: Tensor, rows: int, columns: int) -> Tensor:
    """Averages of `rows` times `columns` regions, which overlap where they do not divide the sides. Channels last."""
    down, across = regions(x.shape[1], rows), regions(x.shape[2], columns)
    return ops.einsum("bhwc,ih,jw->bijc", x, ops.cast(down, x.dtype), ops.cast(across, x.dtype))


def regions(size: int, number: int) -> np.ndarray:
    """How much each of `size` pixels counts in each of `number` averages: (number, size), rows that sum to 1."""
    shares = np.zeros((number, size), np.float32)
    for index in range(number):
        start, end = index * size // number, -(-(index + 1) * size // number)
        shares[index, start:end] = 1 / (end - start)
    return shares
