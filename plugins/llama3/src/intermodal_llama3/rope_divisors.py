"""The parameters behind `rope_freqs.weight`: GGUF files hold Llama 3.1's stretched rotary embedding as divisors."""

from __future__ import annotations

from typing import Any

import numpy as np
from intermodal.api import RopeParameters, inverse_frequencies

LOW, HIGH = 1.0, 4.0
"""`low_freq_factor` and `high_freq_factor` of every published model."""

USUAL_CONTEXT = 8192

TOLERANCE = 2e-6
"""Relative. Wavelengths round in float32, and where the blend begins that error grows with the factor: at 32 it comes
to 6e-7. An original context that is off by one differs by more than this, up to 65536 tokens."""


def llama3_parameters(divisors: np.ndarray, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Keys of `rope_parameters` whose frequencies are the plain ones over these divisors.

    The largest divisor is the factor, and any divisor between 1 and the factor tells the original context. What comes
    of that is kept only if it gives back every divisor.

    Args:
        divisors: float32 `[head_dim / 2]`.
        theta: base of the plain frequencies.
        head_dim: dimensions of a head.

    Returns:
        Nothing to add (an empty dict) where all divisors are 1; None where no parameters give these divisors.
    """
    if not np.isfinite(divisors).all() or divisors.min() < 1:
        return None
    factor = float(str(divisors.max()))
    if factor == 1:
        return {}
    plain, _ = inverse_frequencies(RopeParameters(rope_theta=theta), head_dim)
    for context in _contexts(divisors, plain, factor):
        found = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LOW,
            "high_freq_factor": HIGH,
            "original_max_position_embeddings": context,
        }
        stretched, _ = inverse_frequencies(RopeParameters(rope_theta=theta, **found), head_dim)
        if np.allclose(plain / stretched, divisors, rtol=TOLERANCE, atol=0):
            return found
    return None


def _contexts(divisors: np.ndarray, plain: np.ndarray, factor: float) -> list[int]:
    """Original contexts to try: the usual one, and what each blended divisor says."""
    blended = (divisors > 1) & (divisors < np.float32(factor))
    smooth = (1 / divisors[blended].astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    wavelengths = 2 * np.pi / plain[blended].astype(np.float64)
    derived = np.rint((smooth * (HIGH - LOW) + LOW) * wavelengths)
    return list(dict.fromkeys([USUAL_CONTEXT, *(int(context) for context in derived if 1 <= context < 1 << 31)]))
