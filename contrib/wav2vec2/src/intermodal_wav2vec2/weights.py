"""Where wav2vec 2.0 checkpoints keep their weights: Hugging Face's names, old and new ones of weight norms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from intermodal.api import Ignored, Weight, WeightMap, conv1d, head, linear, norm, numbered, repeat

from intermodal_wav2vec2.config import Wav2Vec2Config

CONVOLUTIONS = "feature_extractor.conv_layers"
LAYERS = "encoder.layers"
POSITIONS = "encoder.pos_conv_embed.conv"
LENGTHS, DIRECTIONS = f"{POSITIONS}.parametrizations.weight.original0", f"{POSITIONS}.parametrizations.weight.original1"
ADAPTERS = "adapter.layers"
MASKED = "masked_spec_embed"
LAYER_WEIGHTS = "layer_weights"
TDNN = "tdnn"

PREFIX = "wav2vec2."
_PRETRAINING = "pretraining learns to tell quantised frames apart with it; this task does not"
IGNORED = (
    Ignored(rf"({PREFIX})?quantizer\.(codevectors|weight_proj\.(weight|bias))", _PRETRAINING),
    Ignored(r"project_(hid|q)\.(weight|bias)", _PRETRAINING),
)
UNUSED_MASK = Ignored(rf"({PREFIX})?{MASKED}", "it replaces masked frames in training, and the config masks none")


def weight_map(config: Wav2Vec2Config, task: str) -> WeightMap:
    """The weight map of a config for a task.

    Shapes: C channels of a convolution and K its width, H hidden, F feed-forward, O what the backbone returns.
    """
    masks = config.mask_time_prob > 0 or config.mask_feature_prob > 0
    # Checkpoints that were trained without masks lack the vector whatever their config says.
    mask = [Weight(MASKED, (config.hidden_size,), "table", (None,), if_absent="left out")]
    return WeightMap(
        weights=(
            *(mask if masks else ()),
            *_feature_encoder(config),
            *_encoder(config),
            *_adapter(config),
            *head(_head(config, task)),
        ),
        prefix=PREFIX,
        prefixes=(PREFIX, ""),
        ignored=(*(() if task == "pretraining" else IGNORED), *(() if masks else (UNUSED_MASK,))),
    )


def _feature_encoder(config: Wav2Vec2Config) -> list[Weight]:
    """Convolutions over samples, norms between them, and the projection to the encoder's width."""

    def block(number: int) -> Iterator[Weight]:
        inputs, channels = (1, *config.conv_dim)[number], config.conv_dim[number]
        yield from conv1d("conv", inputs, channels, config.conv_kernel[number], bias=config.conv_bias)
        if config.feat_extract_norm == "layer" or number == 0:
            yield from norm("layer_norm", channels, bias=True)

    channels = config.conv_dim[-1]
    return [
        *numbered(CONVOLUTIONS, [block(number) for number in range(len(config.conv_dim))]),
        *norm("feature_projection.layer_norm", channels, bias=True),
        *linear("feature_projection.projection", channels, config.hidden_size, bias=True, axes=("hidden", None)),
    ]


def _encoder(config: Wav2Vec2Config) -> list[Weight]:
    """The convolution that tells positions, and the transformer's layers."""
    hidden, feed_forward = config.hidden_size, config.intermediate_size
    inwards, outwards = ("heads", "hidden"), ("hidden", "heads")
    block = [
        *linear("attention.k_proj", hidden, hidden, bias=True, axes=inwards),
        *linear("attention.v_proj", hidden, hidden, bias=True, axes=inwards),
        *linear("attention.q_proj", hidden, hidden, bias=True, axes=inwards),
        *linear("attention.out_proj", hidden, hidden, bias=True, axes=outwards),
        *norm("layer_norm", hidden, bias=True),
        *linear("feed_forward.intermediate_dense", hidden, feed_forward, bias=True, axes=("feed_forward", "hidden")),
        *linear("feed_forward.output_dense", feed_forward, hidden, bias=True, axes=("hidden", "feed_forward")),
        *norm("final_layer_norm", hidden, bias=True),
        *_language_adapter(config),
    ]
    return [
        *_positions(config),
        *norm("encoder.layer_norm", hidden, bias=True),
        *repeat(LAYERS, config.num_hidden_layers, block),
    ]


def _positions(config: Wav2Vec2Config) -> list[Weight]:
    """The kernel as directions, and a length for each of its columns, whose names torch has changed."""
    width = config.num_conv_pos_embeddings
    directions, bias = conv1d(
        POSITIONS, config.hidden_size, config.hidden_size, width, groups=config.num_conv_pos_embedding_groups, bias=True
    )
    return [
        bias,
        Weight(LENGTHS, (1, 1, width), "norm", (None, None, None), legacy=(f"{POSITIONS}.weight_g",)),
        replace(directions, name=DIRECTIONS, legacy=(f"{POSITIONS}.weight_v",)),
    ]


def _language_adapter(config: Wav2Vec2Config) -> list[Weight]:
    """A norm and two linears at the end of each layer, where the config has them."""
    if not config.has_language_adapters or config.adapter_attn_dim is None:
        return []
    hidden, width = config.hidden_size, config.adapter_attn_dim
    return [
        *norm("adapter_layer.norm", hidden, bias=True),
        *linear("adapter_layer.linear_1", hidden, width, bias=True),
        *linear("adapter_layer.linear_2", width, hidden, bias=True),
    ]


def _adapter(config: Wav2Vec2Config) -> list[Weight]:
    """Convolutions behind the encoder, which halve the number of frames, where the config has them."""
    if not config.add_adapter:
        return []
    hidden, width = config.hidden_size, config.output_size
    project = [*linear("adapter.proj", hidden, width, bias=True), *norm("adapter.proj_layer_norm", width, bias=True)]
    block = conv1d("conv", width, 2 * width, config.adapter_kernel_size, bias=True)
    return [*(project if width != hidden else ()), *repeat(ADAPTERS, config.num_adapter_layers, block)]


def _head(config: Wav2Vec2Config, task: str) -> list[Weight]:
    hidden = config.hidden_size
    layers = Weight(LAYER_WEIGHTS, (config.num_hidden_layers + 1,), "norm", (None,))
    weighted = [layers] if config.use_weighted_layer_sum else []
    match task:
        case "automatic-speech-recognition" if config.vocab_size is not None:
            return linear("lm_head", config.output_size, config.vocab_size, bias=True, axes=("vocabulary", "hidden"))
        case "audio-classification":
            width = config.classifier_proj_size
            project = linear("projector", hidden, width, bias=True)
            return [*weighted, *project, *linear("classifier", width, config.num_labels, bias=True)]
        case "audio-frame-classification":
            return [*weighted, *linear("classifier", hidden, config.num_labels, bias=True)]
        case "audio-xvector":
            return [*weighted, *_speaker_head(config)]
        case "pretraining":
            return _quantizer(config)
        case _:
            return []


def _speaker_head(config: Wav2Vec2Config) -> list[Weight]:
    """Dilated convolutions, kept as linears of the frames that they reach, and linears of their statistics."""
    dims, width = config.tdnn_dim, config.xvector_output_dim
    inputs = (dims[0], *dims)
    kernels = config.tdnn_kernel
    blocks = [linear("kernel", inputs[i] * kernels[i], size, bias=True) for i, size in enumerate(dims)]
    return [
        *linear("projector", config.hidden_size, dims[0], bias=True),
        *numbered(TDNN, blocks),
        *linear("feature_extractor", 2 * dims[-1], width, bias=True),
        *linear("classifier", width, width, bias=True),
        Weight("objective.weight", (width, config.num_labels), "table", (None, None)),  # of the loss; kept for export
    ]


def _quantizer(config: Wav2Vec2Config) -> list[Weight]:
    """Pretraining: a codebook in groups, what chooses from it, and the projections that are compared."""
    groups, entries = config.num_codevector_groups, config.num_codevectors_per_group
    width, projected = config.codevector_dim, config.proj_codevector_dim
    codebook = (1, groups * entries, width // groups)
    return [
        Weight("quantizer.codevectors", codebook, "table", (None, None, None)),
        *linear("quantizer.weight_proj", config.conv_dim[-1], groups * entries, bias=True),
        *linear("project_hid", config.hidden_size, projected, bias=True),
        *linear("project_q", width, projected, bias=True),
    ]
