"""Qwen2's forward pass: pre-norm blocks of rotary attention, some with a window, and a gated feed-forward.

Source: arXiv:2407.10671, and transformers' modeling_qwen2.py.
"""

from __future__ import annotations

from typing import Any

from intermodal.api import Backbone, Step, Tree, inverse_frequencies, kernels

from intermodal_qwen2.config import Qwen2Config

Tensor = Any


class Qwen2Backbone(Backbone):
    """Hidden states of Qwen2 and Qwen2.5."""

    config: Qwen2Config
    reads_packed = True

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`. Returns `last_hidden_state` (B, T, hidden), after the last norm."""
        config = self.config
        frequencies, factor = inverse_frequencies(config.rope, config.head_dim)
        rope = kernels.rotary_table(step.positions, frequencies, factor, self.compute_dtype)
        masks = {window: step.mask(window=window) for window in dict.fromkeys(config.windows)}
        x = kernels.embedding(step.token_ids, w["embed_tokens"], self.compute_dtype)
        for number, block in enumerate(w["layers"]):
            x = attention(block, x, step, number, rope, masks[config.windows[number]], config)
            x = feed_forward(block, x, config)
        return {"last_hidden_state": kernels.rms_norm(x, w["norm"], config.rms_norm_eps)}


def attention(w: Tree, x: Tensor, step: Step, number: int, rope: Any, mask: Any, config: Qwen2Config) -> Tensor:
    """x plus grouped-query attention with rotary positions to its norm. x (B, T, hidden), and so the result."""
    norm = kernels.Norm(w["input_layernorm"], config.rms_norm_eps)
    q, k, v = kernels.linears(x, w["self_attn.q_proj"], w["self_attn.k_proj"], w["self_attn.v_proj"], norm=norm)
    width = config.head_dim
    y = step.attend_heads(number, q, k, v, width=width, rope=rope, mask=mask, scale=width**-0.5)
    return kernels.linear(y, w["self_attn.o_proj"], residual=x)


def feed_forward(w: Tree, x: Tensor, config: Qwen2Config) -> Tensor:
    """x plus SwiGLU (arXiv:2002.05202) of its norm. x (B, T, hidden), and so the result."""
    norm = kernels.Norm(w["post_attention_layernorm"], config.rms_norm_eps)
    y = kernels.gated_linear(x, w["mlp.gate_proj"], w["mlp.up_proj"], "silu", norm=norm)
    return kernels.linear(y, w["mlp.down_proj"], residual=x)
