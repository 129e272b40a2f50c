"""Where Qwen2 checkpoints keep their weights: Hugging Face's names, and llama.cpp's for GGUF."""

from __future__ import annotations

from intermodal.api import Ignored, Weight, WeightMap, embedding, head, linear, norm, repeat

from intermodal_qwen2.config import Qwen2Config

IGNORED = (
    Ignored(r".*rotary_emb\.inv_freq", "computed from the config"),
    Ignored(r"rope_freqs\.weight", "already part of the config's rope_parameters"),
)


def weight_map(config: Qwen2Config, task: str) -> WeightMap:
    """The weight map of a config for a task."""
    hidden = config.hidden_size
    feed_forward = config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    block = [
        *norm("input_layernorm", hidden, gguf="attn_norm"),
        *linear("self_attn.q_proj", hidden, queries, bias=True, axes=("heads", "hidden"), gguf="attn_q"),
        *linear("self_attn.k_proj", hidden, keys, bias=True, axes=("heads", "hidden"), gguf="attn_k"),
        *linear("self_attn.v_proj", hidden, keys, bias=True, axes=("heads", "hidden"), gguf="attn_v"),
        *linear("self_attn.o_proj", queries, hidden, axes=("hidden", "heads"), gguf="attn_output"),
        *norm("post_attention_layernorm", hidden, gguf="ffn_norm"),
        *linear("mlp.gate_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_gate"),
        *linear("mlp.up_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_up"),
        *linear("mlp.down_proj", feed_forward, hidden, axes=("hidden", "feed_forward"), gguf="ffn_down"),
    ]
    backbone = [
        *embedding("embed_tokens", config.vocab_size, hidden, gguf="token_embd"),
        *repeat("layers", config.num_hidden_layers, block, gguf="blk"),
        *norm("norm", hidden, gguf="output_norm"),
    ]
    return WeightMap(
        weights=(*backbone, *_head(config, task)),
        prefix="transformer." if task == "question-answering" else "model.",
        prefixes=("model.", "", "transformer.", "language_model.model.", "model.language_model."),
        ignored=IGNORED,
    )


def _head(config: Qwen2Config, task: str) -> list[Weight]:
    hidden = config.hidden_size
    match task:
        case "text-generation":
            weights = linear("lm_head", hidden, config.vocab_size, axes=("vocabulary", "hidden"), gguf="output")
            return head(weights, tied_to="embed_tokens.weight" if config.tie_word_embeddings else None)
        case "text-classification":
            return head(linear("score", hidden, config.num_labels))
        case "token-classification":
            return head(linear("score", hidden, config.num_labels, bias=True))
        case "question-answering":
            return head(linear("qa_outputs", hidden, 2, bias=True))
        case _:
            return []
