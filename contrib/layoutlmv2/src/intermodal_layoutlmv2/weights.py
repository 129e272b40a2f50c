"""Where LayoutLMv2 checkpoints keep the weights of text, layout and heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from intermodal.api import (
    Alias,
    Ignored,
    Part,
    Transform,
    Weight,
    WeightMap,
    embedding,
    head,
    linear,
    norm,
    repeat,
)

from intermodal_layoutlmv2.config import LayoutLMv2Config
from intermodal_layoutlmv2.visual_weights import visual_backbone

if TYPE_CHECKING:
    import numpy as np

WORDS = "embeddings.word_embeddings"
POOLER = "pooler.dense"
SEGMENT = "visual_segment_embedding"
DOCUMENT_ANSWERS = "document-question-answering"

IGNORED = (
    Ignored(r"(layoutlmv2\.)?embeddings\.position_ids", "they count from 0"),
    Ignored(r"(layoutlmv2\.)?visual\.pixel_(mean|std)", "config.json says them, in detectron2_config_args"),
    Ignored(r"(layoutlmv2\.)?visual\.backbone\..*\.num_batches_tracked", "it counts batches of a training"),
)


@dataclass(frozen=True)
class Unwrap(Transform):
    """A vector that is stored with two axes of one in front of it."""

    def load(self, values: np.ndarray) -> np.ndarray:
        """(1, 1, width) → (width,)."""
        return values.reshape(-1)

    def export(self, values: np.ndarray) -> np.ndarray:
        """(width,) → (1, 1, width)."""
        return values.reshape(1, 1, -1)

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(1, 1, width)."""
        return (1, 1, *shape)


def weight_map(config: LayoutLMv2Config, task: str) -> WeightMap:
    """The weight map of a config for a task."""
    hidden = config.hidden_size
    return WeightMap(
        weights=(
            *_embeddings(config),
            *visual_backbone(config.visual),
            *linear("visual_proj", config.visual.channels, hidden, bias=True),
            *_segment(config, task),
            *norm("visual_LayerNorm", hidden, bias=True),
            *repeat("encoder.layer", config.num_hidden_layers, _block(config)),
            *_distances(config),
            *_pooler(hidden),
            *_head(config, task),
        ),
        prefix="layoutlmv2.",
        prefixes=("layoutlmv2.", ""),
        ignored=IGNORED,
    )


def _embeddings(config: LayoutLMv2Config) -> list[Weight]:
    hidden, boxes = config.hidden_size, config.max_2d_position_embeddings
    return [
        *embedding(WORDS, config.vocab_size, hidden),
        *_table("embeddings.position_embeddings", config.max_position_embeddings, hidden),
        *_table("embeddings.x_position_embeddings", boxes, config.coordinate_size),
        *_table("embeddings.y_position_embeddings", boxes, config.coordinate_size),
        *_table("embeddings.h_position_embeddings", boxes, config.shape_size),
        *_table("embeddings.w_position_embeddings", boxes, config.shape_size),
        *_table("embeddings.token_type_embeddings", config.type_vocab_size, hidden),
        *norm("embeddings.LayerNorm", hidden, bias=True),
    ]


def _segment(config: LayoutLMv2Config, task: str) -> list[Weight]:
    """The vector that marks what is of the image."""
    if not (config.has_visual_segment_embedding or task == DOCUMENT_ANSWERS):
        return []
    weight = Weight(SEGMENT, (config.hidden_size,), "table", (None,))
    # Another task's checkpoint has none: it is then as new as the head.
    return [replace(weight, if_absent="refused" if config.has_visual_segment_embedding else "new")]


def _block(config: LayoutLMv2Config) -> list[Weight]:
    hidden, inner = config.hidden_size, config.intermediate_size
    return [
        *_attention_inputs(hidden, fused=config.fast_qkv),
        *linear("attention.output.dense", hidden, hidden, bias=True, axes=("hidden", "heads")),
        *norm("attention.output.LayerNorm", hidden, bias=True),
        *linear("intermediate.dense", hidden, inner, bias=True, axes=("feed_forward", "hidden")),
        *linear("output.dense", inner, hidden, bias=True, axes=("hidden", "feed_forward")),
        *norm("output.LayerNorm", hidden, bias=True),
    ]


def _attention_inputs(hidden: int, *, fused: bool) -> list[Weight]:
    """Queries, keys and values: three linears, or one linear, and biases of queries and values alone."""
    within = "attention.self"
    weights = [
        weight
        for name in ("query", "key", "value")
        for weight in linear(f"{within}.{name}", hidden, hidden, bias=True, axes=("heads", "hidden"))
    ]
    if not fused:
        return weights
    fused_linear = f"{within}.qkv_linear.weight"
    stored = {
        f"{within}.{name}.weight": Alias(
            fused_linear, part=Part(0, row * hidden, hidden), of_shape=(3 * hidden, hidden)
        )
        for row, name in enumerate(("query", "key", "value"))
    }
    stored[f"{within}.query.bias"] = Alias(f"{within}.q_bias", Unwrap())
    stored[f"{within}.value.bias"] = Alias(f"{within}.v_bias", Unwrap())
    return [replace(w, aliases={"huggingface": stored[w.name]}) for w in weights if w.name in stored]


def _distances(config: LayoutLMv2Config) -> list[Weight]:
    """Attention's biases by distance: a row a head, a column a bin."""
    heads, found = config.num_attention_heads, []
    if config.has_relative_attention_bias:
        found += _table("encoder.rel_pos_bias", heads, config.rel_pos_bins)
    if config.has_spatial_attention_bias:
        found += _table("encoder.rel_pos_x_bias", heads, config.rel_2d_pos_bins)
        found += _table("encoder.rel_pos_y_bias", heads, config.rel_2d_pos_bins)
    return found


def _pooler(hidden: int) -> list[Weight]:
    """A dense layer on the first token; every checkpoint has it, and only the model without a head uses it."""
    return [replace(weight, if_absent="left out") for weight in linear(POOLER, hidden, hidden, bias=True)]


def _head(config: LayoutLMv2Config, task: str) -> list[Weight]:
    hidden = config.hidden_size
    match task:
        case "token-classification":
            return head(linear("classifier", hidden, config.num_labels, bias=True))
        case "text-classification":
            return head(linear("classifier", 3 * hidden, config.num_labels, bias=True))
        case "document-question-answering":
            return head(linear("qa_outputs", hidden, 2, bias=True))
        case _:
            return []


def _table(name: str, rows: int, width: int) -> list[Weight]:
    """A table of something else than words."""
    return [Weight(f"{name}.weight", (rows, width), "table", (None, None))]
