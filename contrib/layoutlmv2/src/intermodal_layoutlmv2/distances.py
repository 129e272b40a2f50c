"""Attention's biases by distance, in tokens and on the page (arXiv:2012.14740, section 2.1; arXiv:1910.10683)."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from intermodal.api import Bundle, Tree, ops

from intermodal_layoutlmv2.config import LayoutLMv2Config

Tensor = Any

LEFT, BOTTOM = 0, 3
"""Coordinates of a box whose distances count."""


def distance_bias(positions: Tensor, boxes: Tensor, w: Tree, config: LayoutLMv2Config, dtype: str) -> Tensor | None:
    """What attention adds to scores, (B, heads, S, S), or None where the config has neither bias.

    Args:
        positions: (B or 1, S) of tokens and of the image's regions.
        boxes: (B, S, 4) of them.
        w: the backbone's tensors.
        config: the family's.
        dtype: what is computed in.
    """
    found = []
    if config.has_relative_attention_bias:
        bins = bin_of_distance(config.max_position_embeddings, config.rel_pos_bins, config.max_rel_pos)
        found.append(bias_of(positions, w["encoder.rel_pos_bias"], bins, dtype))
    if config.has_spatial_attention_bias:
        bins = bin_of_distance(config.max_2d_position_embeddings, config.rel_2d_pos_bins, config.max_rel_2d_pos)
        found.append(bias_of(boxes[..., LEFT], w["encoder.rel_pos_x_bias"], bins, dtype))
        found.append(bias_of(boxes[..., BOTTOM], w["encoder.rel_pos_y_bias"], bins, dtype))
    return functools.reduce(lambda a, b: a + b, found) if found else None


def bias_of(places: Tensor, w: Bundle, bins: np.ndarray, dtype: str) -> Tensor:
    """The bias of each pair by the distance from query to key. places (B, S) → (B, heads, S, S)."""
    by_distance = ops.take(ops.transpose(ops.cast(w.weight, dtype)), bins, axis=0)
    distances = places[:, None, :] - places[:, :, None] + len(bins) // 2
    return ops.transpose(ops.take(by_distance, distances, axis=0), (0, 3, 1, 2))


@functools.lru_cache(maxsize=16)
def bin_of_distance(limit: int, bins: int, reach: int) -> np.ndarray:
    """The bin of each distance from `-limit` to `limit`, int32.

    Half of the bins are for keys behind the query, half for those before it; of each half, the first half is for the
    nearest distances one by one, the others for distances up to `reach` on a logarithmic scale, and all beyond.

    Args:
        limit: of distances.
        bins: at least 4.
        reach: from where on distances are alike; above a quarter of `bins`.
    """
    half = bins // 2
    exact = half // 2
    distances = np.arange(-limit, limit + 1)
    far = np.abs(distances)
    # In float32 and in this order, as what lies on the edge of two bins goes by rounding.
    shares = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(reach / exact))
    coarse = exact + (shares * np.float32(half - exact)).astype(np.int32)
    return (np.where(far < exact, far, np.minimum(coarse, half - 1)) + half * (distances > 0)).astype(np.int32)
