"""Rotary parameters of a GGUF file: keys for most kinds, and a tensor of divisors for the kind llama3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.config.accounting import ABSENT
from intermodal.config.fields import real
from intermodal.config.rope import RopeParameters, inverse_frequencies

if TYPE_CHECKING:
    import numpy as np

    from intermodal.config.gguf import GgufKeys

ROTARY = (
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)
"""Keys that say how positions are rotated, without the prefix of the architecture."""

LOW, HIGH = 1.0, 4.0
"""`low_freq_factor` and `high_freq_factor` of every published model of the kind llama3."""

USUAL_CONTEXT = 8192

TOLERANCE = 2e-6
"""Relative. Wavelengths round in float32, and where the blend begins that error grows with the factor: at 32 it comes
to 6e-7. An original context that is off by one differs by more than this, up to 65536 tokens."""


def rope_parameters(keys: GgufKeys, head_dim: Any) -> dict[str, Any]:
    """`rope_parameters`, as config.json of transformers 5 has them, from the rotary keys or the tensor of divisors."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base", 10000.0)}
    # llama.cpp takes a factor without a type as linear, 0 as no factor, and reads an older name of it.
    kind = keys.take("rope.scaling.type", "linear")
    older = keys.number("rope.scale_linear", 0.0, real(least=0.0))
    factor = keys.number("rope.scaling.factor", older, real(least=0.0))
    context = keys.size("rope.scaling.original_context_length", keys.take("context_length"))
    betas = {
        beta: keys.number(f"rope.scaling.yarn_{beta}", 0.0)
        for beta in ("beta_fast", "beta_slow")
        if f"rope.scaling.yarn_{beta}" in keys
    }
    if kind not in ("none", "linear", "yarn"):
        keys.refuse("rope.scaling.type", kind, "this kind of rotary embedding is not supported; none, linear, yarn are")
    tensors = keys.checkpoint.tensors
    for name in ("rope_factors_long.weight", "rope_factors_short.weight"):
        if name in tensors:
            keys.account.refuse(name, ABSENT, "rotary embeddings of the kind longrope are not supported")
    if keys.account.problems:
        return rope
    stretched = kind != "none" and factor not in (0.0, 1.0)
    if "rope_freqs.weight" in tensors:
        if stretched:
            text = f"stretches positions, as {keys.prefix}rope.scaling ({kind}) does; only one of the two is supported"
            keys.account.refuse("rope_freqs.weight", ABSENT, text)
            return rope
        return rope | _from_divisors(keys, rope["rope_theta"], head_dim)
    if kind == "yarn" and factor:
        return rope | {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": context, **betas}
    return rope | {"rope_type": "linear", "factor": factor} if stretched else rope


def _from_divisors(keys: GgufKeys, theta: float, head_dim: int) -> dict[str, Any]:
    import numpy as np

    shape = keys.checkpoint.tensors["rope_freqs.weight"].shape
    if shape != (head_dim // 2,):
        keys.account.refuse("rope_freqs.weight", ABSENT, f"has shape {shape}, expected ({head_dim // 2},)")
        return {}
    divisors = np.asarray(keys.checkpoint.read("rope_freqs.weight"), np.float32)
    found = parameters_of_divisors(divisors, theta, head_dim)
    if found is None:
        text = "its divisors are not those of a rotary embedding of the kind llama3, whatever its factor and original"
        keys.account.refuse("rope_freqs.weight", ABSENT, f"{text} context. Load the original safetensors instead")
    return found or {}


def parameters_of_divisors(divisors: np.ndarray, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Keys of `rope_parameters` whose frequencies are the plain ones over these divisors.

    The largest divisor is the factor, and any divisor between 1 and the factor tells the original context. What comes
    of that is kept only if it gives back every divisor.

    Args:
        divisors: float32 `[head_dim / 2]`, a file's `rope_freqs.weight`.
        theta: base of the plain frequencies.
        head_dim: dimensions of a head.

    Returns:
        Nothing to add (an empty dict) where all divisors are 1; None where no parameters give these divisors.
    """
    import numpy as np

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
    import numpy as np

    blended = (divisors > 1) & (divisors < np.float32(factor))
    smooth = (1 / divisors[blended].astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    wavelengths = 2 * np.pi / plain[blended].astype(np.float64)
    derived = np.rint((smooth * (HIGH - LOW) + LOW) * wavelengths)
    return list(dict.fromkeys([USUAL_CONTEXT, *(int(context) for context in derived if 1 <= context < 1 << 31)]))
