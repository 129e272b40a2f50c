"""Gemma 3's forward pass: blocks with norms before and after, local and global attention (arXiv:2503.19786)."""

from __future__ import annotations

from typing import Any

import numpy as np
from intermodal.api import Backbone, InputError, Step, Tree, inverse_frequencies, kernels, numpy_dtype

from intermodal_gemma3.config import FULL, SLIDING, GemmaTextConfig

Tensor = Any


class GemmaBackbone(Backbone):
    """Hidden states of Gemma 3's text model.

    Raises:
        InputError: it would compute in float16, where its residual stream overflows.
    """

    config: GemmaTextConfig
    reads_packed = True

    def __init__(self, config: Any, weight_map: Any, supply: Any, policy: Any, **options: Any) -> None:
        refuse_float16(policy.compute_dtype)
        super().__init__(config, weight_map, supply, policy, **options)

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`. Returns `last_hidden_state` (B, T, hidden), after the last norm."""
        config = self.config
        x = embed(step.token_ids, w, config, self.compute_dtype)
        return {"last_hidden_state": decode(x, w, step, config, text_masks(step, config), self.compute_dtype)}


def refuse_float16(compute_dtype: str) -> None:
    """Raise where activations would be float16."""
    if compute_dtype == "float16":
        raise InputError(
            "Gemma 3 overflows in float16: its activations leave the range of 65504. "
            'Load it with dtype="bfloat16" or dtype="float32".'
        )


def embed(ids: Tensor, w: Tree, config: GemmaTextConfig, dtype: str) -> Tensor:
    """Rows of the table times √hidden. (B, T) → (B, T, hidden)."""
    rows = kernels.embedding(ids, w["embed_tokens"], dtype)
    # The factor is rounded before the product: in bfloat16, √2560 = 50.596 is 50.5.
    return rows * rounded(config.hidden_size**0.5, dtype)


def rounded(value: float, dtype: str) -> float:
    """The nearest number of a float dtype."""
    return float(np.asarray(value, numpy_dtype(dtype)))


def text_masks(step: Step, config: GemmaTextConfig) -> dict[str, Any]:
    """The mask of each kind of layer; layers of one kind share it."""
    both = config.use_bidirectional_attention
    if both and step.cache:
        raise InputError(
            "use_bidirectional_attention lets tokens see the ones after them, so text cannot be generated token by "
            'token. Load it for its hidden states: load(uri, task="feature-extraction").'
        )
    return {
        kind: step.mask(causal=not both, window=config.reach if kind == SLIDING else None)
        for kind in dict.fromkeys(config.layer_types)
    }


def decode(x: Tensor, w: Tree, step: Step, config: GemmaTextConfig, masks: dict[str, Any], dtype: str) -> Tensor:
    """Embeddings through all blocks and the last norm. (B, T, hidden) → (B, T, hidden)."""
    epsilon = config.rms_norm_eps
    ropes = {}
    for kind, parameters in ((FULL, config.rope), (SLIDING, config.local_rope)):
        frequencies, factor = inverse_frequencies(parameters, config.head_dim)
        ropes[kind] = kernels.rotary_table(step.positions, frequencies, factor, dtype)
    for number, (block, kind) in enumerate(zip(w["layers"], config.layer_types, strict=True)):
        y = attention(block, x, step, number, ropes[kind], masks[kind], config)
        x = x + kernels.offset_rms_norm(y, block["post_attention_layernorm"], epsilon)
        y = feed_forward(block, x, config)
        x = x + kernels.offset_rms_norm(y, block["post_feedforward_layernorm"], epsilon)
    return kernels.offset_rms_norm(x, w["norm"], epsilon)


def attention(w: Tree, x: Tensor, step: Step, number: int, rope: Any, mask: Any, config: GemmaTextConfig) -> Tensor:
    """Grouped-query attention of the norm of x (B, T, hidden), shaped as it; queries and keys have norms too."""
    norm = kernels.Norm(w["input_layernorm"], config.rms_norm_eps, offset=True)
    projected = kernels.linears(x, *(w[f"self_attn.{name}_proj"] for name in "qkv"), norm=norm)
    q, k, v = (kernels.split_heads(y, config.head_dim) for y in projected)
    q = kernels.rotate(kernels.offset_rms_norm(q, w["self_attn.q_norm"], config.rms_norm_eps), rope)
    k = kernels.rotate(kernels.offset_rms_norm(k, w["self_attn.k_norm"], config.rms_norm_eps), rope)
    y = step.attend(number, q, k, v, mask=mask, scale=config.query_pre_attn_scalar**-0.5)
    return kernels.linear(kernels.merge_heads(y), w["self_attn.o_proj"])


def feed_forward(w: Tree, x: Tensor, config: GemmaTextConfig) -> Tensor:
    """GeGLU (arXiv:2002.05202) of the norm of x (B, T, hidden), shaped as it."""
    norm = kernels.Norm(w["pre_feedforward_layernorm"], config.rms_norm_eps, offset=True)
    y = kernels.gated_linear(x, w["mlp.gate_proj"], w["mlp.up_proj"], config.hidden_activation, norm=norm)
    return kernels.linear(y, w["mlp.down_proj"])
