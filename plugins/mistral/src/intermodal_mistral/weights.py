"""Where Mistral checkpoints keep their weights: the names of Hugging Face, of llama.cpp and of consolidated files."""

from __future__ import annotations

from collections.abc import Sequence

from intermodal.api import (
    Deinterleave,
    Identity,
    Ignored,
    Transform,
    Weight,
    WeightMap,
    embedding,
    head,
    linear,
    norm,
    renamed,
    repeat,
)

from intermodal_mistral.config import MistralConfig

PLAIN = Identity()
IGNORED = (
    Ignored(r".*rotary_emb\.inv_freq", "computed from the config"),
    Ignored(r"rope_freqs\.weight", "already part of the config's rope_parameters"),
)


def weight_map(config: MistralConfig, task: str) -> WeightMap:
    """The weight map of a config for a task.

    Shapes: V vocabulary, H hidden, F feed-forward, T·D and K·D the widths of all query and all key-value heads.
    """
    hidden, feed_forward = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    q_pairs, k_pairs = Deinterleave(config.num_attention_heads), Deinterleave(config.num_key_value_heads)

    block = [
        *_also("attention_norm", norm("input_layernorm", hidden, gguf="attn_norm")),
        *_also("attention.wq", _into_heads("q_proj", hidden, queries, "attn_q", q_pairs), q_pairs),
        *_also("attention.wk", _into_heads("k_proj", hidden, keys, "attn_k", k_pairs), k_pairs),
        *_also("attention.wv", _into_heads("v_proj", hidden, keys, "attn_v")),
        *_also(
            "attention.wo",
            linear("self_attn.o_proj", queries, hidden, axes=("hidden", "heads"), gguf="attn_output"),
        ),
        *_also("ffn_norm", norm("post_attention_layernorm", hidden, gguf="ffn_norm")),
        *_also(
            "feed_forward.w1",
            linear("mlp.gate_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_gate"),
        ),
        *_also(
            "feed_forward.w3",
            linear("mlp.up_proj", hidden, feed_forward, axes=("feed_forward", "hidden"), gguf="ffn_up"),
        ),
        *_also(
            "feed_forward.w2",
            linear("mlp.down_proj", feed_forward, hidden, axes=("hidden", "feed_forward"), gguf="ffn_down"),
        ),
    ]
    backbone = [
        *_also("tok_embeddings", embedding("embed_tokens", config.vocab_size, hidden, gguf="token_embd")),
        *repeat("layers", config.num_hidden_layers, block, gguf="blk"),
        *_also("norm", norm("norm", hidden, gguf="output_norm")),
    ]
    # transformers' Ministral has another prefix than its Mistral here
    questions = "transformer." if config.as_ministral else "model."
    return WeightMap(
        weights=(*backbone, *_head(config, task)),
        prefix=questions if task == "question-answering" else "model.",
        prefixes=("model.", "", "transformer.", "language_model.model.", "model.language_model."),
        ignored=IGNORED,
    )


def _into_heads(name: str, inputs: int, outputs: int, gguf: str, transform: Transform = PLAIN) -> list[Weight]:
    return linear(
        f"self_attn.{name}", inputs, outputs, axes=("heads", "hidden"), gguf=gguf, gguf_transform=transform
    )  # fmt: skip


def _also(name: str, weights: Sequence[Weight], transform: Transform = PLAIN) -> list[Weight]:
    """The name in consolidated files, whose rotary pairs lie side by side, as in GGUF."""
    return renamed("consolidated", name, weights, transform)


def _head(config: MistralConfig, task: str) -> list[Weight]:
    hidden = config.hidden_size
    match task:
        case "text-generation":
            tied = "embed_tokens.weight" if config.tie_word_embeddings else None
            lm_head = linear("lm_head", hidden, config.vocab_size, axes=("vocabulary", "hidden"), gguf="output")
            return head(_also("output", lm_head), tied_to=tied)
        case "text-classification":
            return head(linear("score", hidden, config.num_labels))
        case "token-classification":
            return head(linear("score", hidden, config.num_labels, bias=True))
        case "question-answering":
            return head(linear("qa_outputs", hidden, 2, bias=True))
        case _:
            return []
