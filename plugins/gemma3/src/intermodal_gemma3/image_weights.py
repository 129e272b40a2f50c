"""Where Gemma 3 checkpoints with images keep their weights."""

from __future__ import annotations

import math
from dataclasses import replace

from intermodal.api import Alias, Flatten, Ignored, Prefix, Weight, WeightMap, head, linear, norm, repeat

from intermodal_gemma3.image_config import GemmaConfig, SiglipVisionConfig
from intermodal_gemma3.weights import IGNORED, decoder

VISION, PROJECTOR = "vision_tower.", "multi_modal_projector."
IGNORED_OF_IMAGES = (
    *IGNORED,
    Ignored(
        r"(model\.)?vision_tower\.(vision_model\.)?head\..*", "Gemma 3 takes SigLIP's patches, not its pooled head"
    ),
    Ignored(r".*embeddings\.position_ids", "computed from the config"),
)


def prefixes(outer: str, text: str) -> tuple[Prefix, ...]:
    """The prefixes of the three parts, with and without the name of the class that Google's files have in between."""
    return tuple(
        {"": text, VISION: f"{outer}{VISION}{between}", PROJECTOR: f"{outer}{PROJECTOR}"}
        for between in ("vision_model.", "")
    )


# Google's own files, and what transformers 5 writes; what transformers 4.52 and later wrote; the backbone alone.
PREFIXES = (
    *prefixes("", "language_model.model."),
    *prefixes("model.", "model.language_model."),
    *prefixes("", "language_model."),
)


def weight_map(config: GemmaConfig, task: str) -> WeightMap:
    """The weight map of a config for a task."""
    return WeightMap(
        weights=(
            *decoder(config.text_config),
            *vision_tower(config.vision_config),
            *projector(config),
            *task_head(config, task),
        ),
        prefix=PREFIXES[0],
        prefixes=PREFIXES,
        base_prefix=PREFIXES[0],
        ignored=IGNORED_OF_IMAGES,
    )


def vision_tower(config: SiglipVisionConfig) -> list[Weight]:
    """Weights of SigLIP's image encoder."""
    hidden, feed_forward, width = config.hidden_size, config.intermediate_size, config.patch_size
    kernel = (hidden, config.num_channels, width, width)
    block = [
        *norm("layer_norm1", hidden, bias=True),
        *linear("self_attn.q_proj", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("self_attn.k_proj", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("self_attn.v_proj", hidden, hidden, bias=True, axes=("heads", "hidden")),
        *linear("self_attn.out_proj", hidden, hidden, bias=True, axes=("hidden", "heads")),
        *norm("layer_norm2", hidden, bias=True),
        *linear("mlp.fc1", hidden, feed_forward, bias=True, axes=("feed_forward", "hidden")),
        *linear("mlp.fc2", feed_forward, hidden, bias=True, axes=("hidden", "feed_forward")),
    ]
    return [
        *patch_embedding(f"{VISION}embeddings.patch_embedding", kernel),
        Weight(f"{VISION}embeddings.position_embedding.weight", (config.side**2, hidden), "table", (None, "hidden")),
        *repeat(f"{VISION}encoder.layers", config.num_hidden_layers, block),
        *norm(f"{VISION}post_layernorm", hidden, bias=True),
    ]


def patch_embedding(name: str, kernel: tuple[int, ...]) -> list[Weight]:
    """A convolution over patches that do not overlap, (out, channels, height, width), as the linear that it is."""
    weight = Alias(f"{name}.weight", Flatten(kernel))
    return [
        Weight(
            weight.name, (kernel[0], math.prod(kernel[1:])), "table", ("hidden", None), aliases={"huggingface": weight}
        ),
        Weight(f"{name}.bias", kernel[:1], "bias", ("hidden",)),
    ]


def projector(config: GemmaConfig) -> list[Weight]:
    """Weights between the image encoder and the text model. The projection is stored (in, out), as it is used."""
    inner, outer = config.vision_config.hidden_size, config.text_config.hidden_size
    return [
        *norm(f"{PROJECTOR}mm_soft_emb_norm", inner, offset=True),
        Weight(f"{PROJECTOR}mm_input_projection_weight", (inner, outer), "table", (None, "hidden")),
    ]


def task_head(config: GemmaConfig, task: str) -> list[Weight]:
    """Weights of a task's head."""
    hidden = config.hidden_size
    match task:
        case "image-text-to-text":
            tied = "embed_tokens.weight" if config.tie_word_embeddings else None
            weights = head(linear("lm_head", hidden, config.vocab_size, axes=("vocabulary", "hidden")), tied_to=tied)
            return [replace(weight, legacy=(f"language_model.{weight.name}",)) for weight in weights]
        case "text-classification":
            return head(linear("score", hidden, config.num_labels))
        case _:
            return []
