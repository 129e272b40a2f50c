"""SigLIP's image encoder (arXiv:2303.15343) and Gemma 3's projector from patches to soft tokens (arXiv:2503.19786)."""

from __future__ import annotations

from typing import Any

from intermodal.api import Bundle, Tree, kernels, ops

from intermodal_gemma3.image_config import GemmaConfig, SiglipVisionConfig

Tensor = Any


def image_features(pixels: Tensor, w: Tree, config: GemmaConfig, dtype: str) -> Tensor:
    """What stands in the place of image tokens. Pixels (N, channels, image, image) → (N, tokens, hidden of text)."""
    return project(encode(pixels, w, config.vision_config, dtype), w, config)


def encode(pixels: Tensor, w: Tree, config: SiglipVisionConfig, dtype: str) -> Tensor:
    """SigLIP's patches after its last norm. (N, channels, image, image) → (N, patches, hidden)."""
    x = kernels.linear(patches(ops.cast(pixels, dtype), config), w["vision_tower.embeddings.patch_embedding"])
    x = x + ops.cast(w["vision_tower.embeddings.position_embedding"].weight, dtype)[None]
    for block in w["vision_tower.encoder.layers"]:
        y = kernels.layer_norm(x, block["layer_norm1"], config.layer_norm_eps)
        x = x + attention(block, y, config)
        y = kernels.layer_norm(x, block["layer_norm2"], config.layer_norm_eps)
        x = x + feed_forward(block, y, config)
    return kernels.layer_norm(x, w["vision_tower.post_layernorm"], config.layer_norm_eps)


def patches(pixels: Tensor, config: SiglipVisionConfig) -> Tensor:
    """Patches row by row, each flattened as the kernel of a convolution is: (N, C, S, S) → (N, patches, C·p·p)."""
    side, width, channels = config.side, config.patch_size, config.num_channels
    grid = ops.reshape(pixels, (-1, channels, side, width, side, width))
    return ops.reshape(ops.transpose(grid, (0, 2, 4, 1, 3, 5)), (-1, side * side, channels * width * width))


def attention(w: Tree, x: Tensor, config: SiglipVisionConfig) -> Tensor:
    """Attention of all patches to all. x (N, patches, hidden), and so the result."""
    width = config.hidden_size // config.num_attention_heads
    q = kernels.split_heads(kernels.linear(x, w["self_attn.q_proj"]), width)
    k = kernels.split_heads(kernels.linear(x, w["self_attn.k_proj"]), width)
    v = kernels.split_heads(kernels.linear(x, w["self_attn.v_proj"]), width)
    y = kernels.attention(q, k, v, None, width**-0.5)
    return kernels.linear(kernels.merge_heads(y), w["self_attn.out_proj"])


def feed_forward(w: Tree, x: Tensor, config: SiglipVisionConfig) -> Tensor:
    """Two linears with an activation between. x (N, patches, hidden), and so the result."""
    return kernels.linear(kernels.linear(x, w["mlp.fc1"], activation=config.hidden_act), w["mlp.fc2"])


def project(x: Tensor, w: Tree, config: GemmaConfig) -> Tensor:
    """Averages of squares of patches, normalised and projected. (N, patches, hidden) → (N, tokens, hidden of text)."""
    pool, width = config.pool, config.vision_config.hidden_size
    side = config.vision_config.side // pool
    squares = ops.reshape(x, (-1, side, pool, side, pool, width))
    tokens = ops.reshape(ops.mean(squares, axis=(2, 4)), (-1, side * side, width))
    norm: Bundle = w["multi_modal_projector.mm_soft_emb_norm"]
    tokens = kernels.offset_rms_norm(tokens, norm, config.vision_config.layer_norm_eps)
    # Stored (in, out), unlike a linear's weight.
    projection = w["multi_modal_projector.mm_input_projection_weight"].weight
    return ops.matmul(tokens, ops.cast(projection, tokens.dtype))
