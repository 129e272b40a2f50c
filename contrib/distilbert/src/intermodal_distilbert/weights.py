"""Where DistilBERT checkpoints keep their weights."""

from __future__ import annotations

from dataclasses import replace

from intermodal.api import Ignored, Weight, WeightMap, embedding, head, linear, norm, repeat

from intermodal_distilbert.config import DistilBertConfig

WORDS = "embeddings.word_embeddings"
POSITIONS = "embeddings.position_embeddings"
TRANSFORM, TRANSFORM_NORM, PROJECTOR = "vocab_transform", "vocab_layer_norm", "vocab_projector"
PRE_CLASSIFIER, CLASSIFIER = "pre_classifier", "classifier"

POSITION_IDS = Ignored(r"(distilbert\.)?embeddings\.position_ids", "they count from 0")


def weight_map(config: DistilBertConfig, task: str) -> WeightMap:
    """The weight map of a config for a task."""
    hidden, feed_forward = config.dim, config.hidden_dim
    block = [
        *linear("attention.q_lin", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("attention.k_lin", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("attention.v_lin", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("attention.out_lin", hidden, hidden, bias=True, axes=("hidden", "heads")),
        *norm("sa_layer_norm", hidden, bias=True),
        *linear("ffn.lin1", hidden, feed_forward, bias=True, axes=("feed_forward", "hidden")),
        *linear("ffn.lin2", feed_forward, hidden, bias=True, axes=("hidden", "feed_forward")),
        *norm("output_layer_norm", hidden, bias=True),
    ]
    # The table of positions is never split by rows.
    positions = [
        replace(weight, axes=(None, "hidden"))
        for weight in embedding(POSITIONS, config.max_position_embeddings, hidden)
    ]
    return WeightMap(
        weights=(
            *embedding(WORDS, config.vocab_size, hidden),
            *positions,
            *norm("embeddings.LayerNorm", hidden, bias=True),
            *repeat("transformer.layer", config.n_layers, block),
            *_head(config, task),
        ),
        prefix="distilbert.",
        prefixes=("distilbert.", ""),
        ignored=(POSITION_IDS,),
    )


def _head(config: DistilBertConfig, task: str) -> list[Weight]:
    hidden = config.dim
    match task:
        case "fill-mask":
            return _masked_lm(config)
        case "text-classification" | "multiple-choice":
            labels = config.num_labels if task == "text-classification" else 1
            pre_classifier = linear(PRE_CLASSIFIER, hidden, hidden, bias=True)
            return head([*pre_classifier, *linear(CLASSIFIER, hidden, labels, bias=True)])
        case "token-classification":
            return head(linear(CLASSIFIER, hidden, config.num_labels, bias=True))
        case "question-answering":
            return head(linear("qa_outputs", hidden, 2, bias=True))
        case _:
            return []


def _masked_lm(config: DistilBertConfig) -> list[Weight]:
    """Dense, activation, norm, and a product with the word embeddings, with a bias of its own."""
    weight, bias = linear(PROJECTOR, config.dim, config.vocab_size, bias=True, axes=("vocabulary", "hidden"))
    return [
        *head(linear(TRANSFORM, config.dim, config.dim, bias=True)),
        *head(norm(TRANSFORM_NORM, config.dim, bias=True)),
        *head([weight], tied_to=f"{WORDS}.weight" if config.tie_word_embeddings else None),
        *head([bias]),
    ]
