"""Where Gemma 3 checkpoints keep their weights: Hugging Face's names, and llama.cpp's for GGUF."""

from __future__ import annotations

from intermodal.api import AddConstant, Ignored, Weight, WeightMap, embedding, head, linear, norm, repeat

from intermodal_gemma3.config import GemmaTextConfig

IGNORED = (
    Ignored(r".*rotary_emb\..*inv_freq", "computed from the config"),
    Ignored(r".*embed_tokens\.embed_scale", "computed from the config"),
    Ignored(r"dense_[23]\.weight", "it makes sentence vectors, which this task does not"),
)


def weight_map(config: GemmaTextConfig, task: str) -> WeightMap:
    """The weight map of a config for a task."""
    return WeightMap(
        weights=(*decoder(config), *text_head(config, task)),
        prefix="model.",
        prefixes=("model.", "", "language_model.model.", "model.language_model."),
        ignored=IGNORED,
    )


def decoder(config: GemmaTextConfig) -> list[Weight]:
    """Weights of the text model without its head."""
    hidden, feed_forward, width = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
    bias = config.attention_bias
    inwards, outwards = ("heads", "hidden"), ("hidden", "heads")
    block = [
        *offset_norm("input_layernorm", hidden, "attn_norm"),
        *linear("self_attn.q_proj", hidden, queries, bias=bias, axes=inwards, gguf="attn_q"),
        *linear("self_attn.k_proj", hidden, keys, bias=bias, axes=inwards, gguf="attn_k"),
        *linear("self_attn.v_proj", hidden, keys, bias=bias, axes=inwards, gguf="attn_v"),
        *linear("self_attn.o_proj", queries, hidden, bias=bias, axes=outwards, gguf="attn_output"),
        *offset_norm("self_attn.q_norm", width, "attn_q_norm"),
        *offset_norm("self_attn.k_norm", width, "attn_k_norm"),
        *offset_norm("post_attention_layernorm", hidden, "post_attention_norm"),
        *offset_norm("pre_feedforward_layernorm", hidden, "ffn_norm"),
        *linear("mlp.gate_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_gate"),
        *linear("mlp.up_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_up"),
        *linear("mlp.down_proj", feed_forward, hidden, axes=("hidden", "feed_forward"), gguf="ffn_down"),
        *offset_norm("post_feedforward_layernorm", hidden, "post_ffw_norm"),
    ]
    return [
        *embedding("embed_tokens", config.vocab_size, hidden, gguf="token_embd"),
        *repeat("layers", config.num_hidden_layers, block, gguf="blk"),
        *offset_norm("norm", hidden, "output_norm"),
    ]


def offset_norm(name: str, width: int, gguf: str) -> list[Weight]:
    """A norm whose weight lacks the 1 that it is multiplied with; GGUF files hold it with the 1."""
    return norm(name, width, offset=True, gguf=gguf, gguf_transform=AddConstant(-1.0))


def text_head(config: GemmaTextConfig, task: str) -> list[Weight]:
    """Weights of a task's head."""
    hidden = config.hidden_size
    match task:
        case "text-generation":
            tied = "embed_tokens.weight" if config.tie_word_embeddings else None
            axes = ("vocabulary", "hidden")
            return head(linear("lm_head", hidden, config.vocab_size, axes=axes, gguf="output"), tied_to=tied)
        case "text-classification":
            return head(linear("score", hidden, config.num_labels))
        case _:
            return []
