"""Rotary position embeddings: the one normal form of their parameters, and the inverse frequencies these stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intermodal.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeParameters:
    """Parameters of one rotary embedding, whatever way config.json spelled them.

    Attributes:
        rope_type: one of `ROPE_TYPES`.
        rope_theta: base of the frequencies.
        factor: how far positions are stretched; all types but "default".
        low_freq_factor: llama3: wavelengths above original context / this are stretched.
        high_freq_factor: llama3: wavelengths below original context / this are kept.
        original_max_position_embeddings: llama3 and yarn: the context length before stretching, in tokens.
        beta_fast: yarn: rotations within the original context above which a dimension is kept; None is 32.
        beta_slow: yarn: rotations below which it is stretched in full; None is 1.
        mscale: yarn: with `mscale_all_dim`, another way to the attention factor.
        mscale_all_dim: yarn: see `mscale`.
        attention_factor: yarn: what cos and sin are multiplied by; None derives it from `factor`.
        truncate: yarn: whether the range between the betas is widened to whole dimensions; None is true.
        partial_rotary_factor: the share of a head's dimensions that is rotated.
    """

    rope_type: str = "default"
    rope_theta: float = 10000.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    attention_factor: float | None = None
    truncate: bool | None = None
    partial_rotary_factor: float = 1.0


def inverse_frequencies(rope: RopeParameters, head_dim: int) -> tuple[np.ndarray, float]:
    """The angle by which each pair of dimensions turns from one token to the next.

    Follows transformers' `ROPE_INIT_FUNCTIONS` operation by operation in float32. The power alone is computed in
    float64 and rounded: torch's float32 power is within one unit in the last place of that, numpy's is not.

    Args:
        rope: the parameters.
        head_dim: dimensions of one attention head; an even number of them must be rotated.

    Returns:
        float32 `[rotated / 2]` in radians per token, and what cos and sin are multiplied by (1.0 except for yarn).

    Raises:
        ConfigError: the parameters are incomplete, of an unknown type, or rotate an odd number of dimensions.
    """
    rotated = int(head_dim * rope.partial_rotary_factor)
    if rotated < 2 or rotated % 2:
        raise ConfigError(
            f"partial_rotary_factor = {rope.partial_rotary_factor:g} of head_dim = {head_dim} rotates {rotated}"
            " dimensions; rotary embeddings turn pairs of them, so an even number above zero is needed"
        )
    wavelengths = _powers(rope.rope_theta, rotated)
    if rope.rope_type == "default":
        return 1.0 / wavelengths, 1.0
    if rope.rope_type == "linear":
        return (1.0 / wavelengths) / _given(rope, "factor"), 1.0
    if rope.rope_type == "llama3":
        return _llama3(rope, 1.0 / wavelengths), 1.0
    if rope.rope_type == "yarn":
        return _yarn(rope, wavelengths, rotated), attention_factor(rope)
    raise ConfigError(f'rope_type = "{rope.rope_type}" is not one of {", ".join(ROPE_TYPES)}')


def attention_factor(rope: RopeParameters) -> float:
    """What yarn multiplies cos and sin by, which sharpens attention over a stretched context."""
    if rope.attention_factor is not None:
        return rope.attention_factor

    def scale(weight: float) -> float:
        factor = _given(rope, "factor")
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if rope.mscale and rope.mscale_all_dim:
        return scale(rope.mscale) / scale(rope.mscale_all_dim)
    return scale(1.0)


def _powers(theta: float, rotated: int) -> np.ndarray:
    """theta ** (0, 2, 4, … / rotated): wavelengths over 2π, float32."""
    import numpy as np

    exponents = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    return np.power(np.float64(np.float32(theta)), exponents.astype(np.float64)).astype(np.float32)


def _llama3(rope: RopeParameters, kept: np.ndarray) -> np.ndarray:
    """Keep short wavelengths, stretch long ones, and blend in between."""
    import numpy as np

    factor, low, high = (_given(rope, name) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    context = _given(rope, "original_max_position_embeddings")
    # torch divides a number by a tensor as the number times the tensor's reciprocal, which rounds twice.
    wavelengths = (1.0 / kept) * (2 * math.pi)
    smooth = ((1.0 / wavelengths) * context - low) / (high - low)
    blended = (1 - smooth) * kept / factor + smooth * kept
    long, short = wavelengths > context / low, wavelengths < context / high
    return np.where(long, kept / factor, np.where(short, kept, blended))


def _yarn(rope: RopeParameters, wavelengths: np.ndarray, rotated: int) -> np.ndarray:
    """Blend kept and stretched frequencies over the dimensions that turn between `beta_slow` and `beta_fast` times."""
    import numpy as np

    factor, context = _given(rope, "factor"), _given(rope, "original_max_position_embeddings")

    def dimension(rotations: float) -> float:
        return rotated * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(rope.rope_theta))

    first, last = dimension(rope.beta_fast or 32), dimension(rope.beta_slow or 1)
    if rope.truncate is not False:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotated - 1)
    if first == last:
        last += 0.001
    ramp = np.clip((np.arange(rotated // 2, dtype=np.float32) - first) / (last - first), 0, 1)
    keep = 1 - ramp
    return 1.0 / (factor * wavelengths) * (1 - keep) + 1.0 / wavelengths * keep


def _given(rope: RopeParameters, name: str) -> float:
    value = getattr(rope, name)
    if value is None:
        raise ConfigError(f'rope_type = "{rope.rope_type}" needs {name}, which is missing')
    return value
