"""wav2vec 2.0's forward pass: convolutions over samples, then a transformer over frames (arXiv:2006.11477)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from intermodal.api import Backbone, Bundle, InputError, Step, Tree, WeightMap, errors, kernels, ops

from intermodal_wav2vec2.config import Wav2Vec2Config
from intermodal_wav2vec2.weights import ADAPTERS, CONVOLUTIONS, DIRECTIONS, LAYER_WEIGHTS, LAYERS, LENGTHS, POSITIONS

Tensor = Any

EPSILON = 1e-5
"""Of the norms that have no epsilon in the config: torch's default."""


class Wav2Vec2Backbone(Backbone):
    """Hidden states of frames, from the samples of recordings.

    `input_values` (batch, samples) are floats, as the feature extractor gives them. `attention_mask` of the same shape
    is 1 for samples and 0 for padding, which stands on the right.
    """

    config: Wav2Vec2Config
    main_input = "input_values"
    reads = ("input_values", "attention_mask")

    def __init__(self, config: Wav2Vec2Config, weight_map: WeightMap, *arguments: Any, **options: Any) -> None:
        heads = [weight.name for weight in weight_map.weights if weight.head and weight.module != "lm_head"]
        if config.add_adapter and heads:
            raise errors.ConfigError(
                "config.json: add_adapter = true: behind the adapter there is no head but lm_head, in transformers "
                f"neither, and this task has {heads[0]}. Load it for automatic-speech-recognition, or as features."
            )
        super().__init__(config, weight_map, *arguments, **options)

    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """See `Backbone.forward`.

        Returns:
            `last_hidden_state` (B, T, width) of T frames; `extract_features` (B, T', channels), what the convolutions
            make of the samples, normed; and under a head that weighs layers `weighted_hidden_state` (B, T', hidden).
        """
        config = self.config
        values = ops.cast(step.inputs["input_values"], self.compute_dtype)
        features = feature_encoder(w, values, config)
        frames = kernels.length_of(features)
        features = kernels.layer_norm(features, w["feature_projection.layer_norm"], config.layer_norm_eps)
        x = kernels.linear(features, w["feature_projection.projection"])
        valid = None if step.valid is None else frames_within(frame_counts(step.valid, config), frames)
        states = encoder(w, x, valid, config)
        outputs = {"last_hidden_state": adapter(w, states.pop(), config), "extract_features": features}
        if LAYER_WEIGHTS in w.get("head", {}):
            shares = ops.softmax(ops.cast(w["head"][LAYER_WEIGHTS].weight, x.dtype), axis=-1)
            outputs["weighted_hidden_state"] = sum(state * shares[number] for number, state in enumerate(states))
        return outputs

    def output_shapes(self, shape: tuple[int | None, ...]) -> dict[str, tuple[int | None, ...]]:
        """See `Backbone.output_shapes`."""
        config, (batch, samples) = self.config, shape
        frames = None if samples is None else int(frame_count(samples, config))
        after = frames
        for _ in range(config.num_adapter_layers if config.add_adapter else 0):
            after = None if after is None else (after + 2 - config.adapter_kernel_size) // config.adapter_stride + 1
        return {
            "last_hidden_state": (batch, after, config.output_size),
            "extract_features": (batch, frames, config.conv_dim[-1]),
        }

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """See `Backbone.check_inputs`.

        Raises:
            InputError: a recording is too short for a single frame, has more than one channel, or its padding is not
                on the right.
        """
        super().check_inputs(inputs)
        shape, shortest = tuple(inputs["input_values"].shape), self.config.shortest_recording
        if len(shape) != 2:
            raise InputError(f"input_values has shape {shape}, expected (batch, samples) of a single channel.")
        counts = [] if shape[1] is None else [shape[1]]
        mask = inputs.get("attention_mask")
        if isinstance(mask, np.ndarray | list):
            mask = np.asarray(mask).astype(bool)
            counts.extend(mask.sum(axis=1).tolist())
            if (np.diff(mask.astype(int), axis=1) > 0).any():
                raise InputError(
                    "attention_mask has padding before samples; this model counts the samples of a row and takes so "
                    "many from its beginning: pad on the right."
                )
        if counts and min(counts) < shortest:
            raise InputError(f"A recording has {min(counts)} samples, and the first frame takes {shortest}.")

    def class_logits(self, w: Tree, step: Step, outputs: dict[str, Tensor]) -> Tensor:
        """See `Backbone.class_logits`: of the mean over the frames of each recording."""
        head = w["head"]
        x = kernels.linear(head_input(outputs), head["projector"])
        if step.valid is None:
            return kernels.linear(ops.mean(x, axis=1), head["classifier"])
        counts = frame_counts(step.valid, self.config)
        within = ops.cast(frames_within(counts, kernels.length_of(x)), x.dtype)[:, :, None]
        mean = ops.sum(x * within, axis=1) / ops.cast(counts, x.dtype)[:, None]
        return kernels.linear(mean, head["classifier"])


def head_input(outputs: Mapping[str, Tensor]) -> Tensor:
    """What a head reads of the backbone's outputs: all layers weighted, where the config says so, or the last."""
    return outputs.get("weighted_hidden_state", outputs["last_hidden_state"])


def frame_count(samples: Any, config: Wav2Vec2Config) -> Any:
    """How many frames the convolutions make of so many samples: an int of an int, a tensor of a tensor."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def frame_counts(valid: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Frames (B,) of recordings whose samples are marked in `valid` (B, samples)."""
    return frame_count(ops.sum(ops.cast(valid, "int32"), axis=-1), config)


def frames_within(counts: Tensor, length: Any) -> Tensor:
    """Whether each of `length` frames is one of the first `counts` (B,): (B, length)."""
    return ops.arange(length, dtype="int32")[None, :] < counts[:, None]


def feature_encoder(w: Tree, samples: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Convolutions, each with an activation and perhaps a norm between. (B, samples) → (B, T, channels)."""
    x = samples[:, :, None]
    for block, stride in zip(w[CONVOLUTIONS], config.conv_stride, strict=True):
        x = kernels.conv1d(x, block["conv"], stride=stride)
        if config.feat_extract_norm == "layer":
            x = kernels.layer_norm(x, block["layer_norm"], EPSILON)
        elif "layer_norm" in block:  # the first one's: each channel is a group
            x = kernels.group_norm(x, block["layer_norm"], x.shape[-1], EPSILON)
        x = kernels.activation(config.feat_extract_activation)(x)
    return x


def encoder(w: Tree, x: Tensor, valid: Tensor | None, config: Wav2Vec2Config) -> list[Tensor]:
    """What goes into each layer, what comes out of the last one, and last of all the result. Each (B, T, hidden)."""
    epsilon = config.layer_norm_eps
    if valid is not None:
        x = x * ops.cast(valid, x.dtype)[:, :, None]
    x = x + positions(w, x, config)
    if not config.do_stable_layer_norm:
        x = kernels.layer_norm(x, w["encoder.layer_norm"], epsilon)
    frames = kernels.length_of(x)
    mask = kernels.attention_mask(valid, frames, frames, causal=False)
    states = [x]
    for block in w[LAYERS]:
        if config.do_stable_layer_norm:
            x = x + attention(block, kernels.layer_norm(x, block["layer_norm"], epsilon), mask, config)
            x = x + feed_forward(block, kernels.layer_norm(x, block["final_layer_norm"], epsilon), config)
            x = x + language_adapter(block, x) if config.has_language_adapters else x
        else:
            x = kernels.layer_norm(x + attention(block, x, mask, config), block["layer_norm"], epsilon)
            x = kernels.layer_norm(x + feed_forward(block, x, config), block["final_layer_norm"], epsilon)
        states.append(x)
    last = kernels.layer_norm(x, w["encoder.layer_norm"], epsilon) if config.do_stable_layer_norm else x
    return [*states, last]


def positions(w: Tree, x: Tensor, config: Wav2Vec2Config) -> Tensor:
    """A wide convolution in groups, which tells each frame what is around it. x (B, T, hidden), and so the result.

    Its kernel is stored as directions, and lengths for its columns (weight normalisation, arXiv:1602.07868).
    """
    width = config.num_conv_pos_embeddings
    directions = ops.cast(w[DIRECTIONS].weight, x.dtype)
    lengths = ops.sqrt(ops.sum(ops.square(directions), axis=(0, 1), keepdims=True))
    kernel = directions * (ops.cast(w[LENGTHS].weight, x.dtype) / lengths)
    y = kernels.conv1d(x, Bundle(kernel, w[POSITIONS].bias), padding=width // 2)
    if width % 2 == 0:
        y = y[:, :-1]  # an even width makes one frame too many
    return kernels.activation(config.feat_extract_activation)(y)


def attention(w: Tree, x: Tensor, mask: Any, config: Wav2Vec2Config) -> Tensor:
    """Attention of every frame to every frame. x (B, T, hidden), and so the result."""
    q, k, v = (
        kernels.split_heads(kernels.linear(x, w[f"attention.{name}_proj"]), config.head_dim) for name in ("q", "k", "v")
    )
    y = kernels.attention(q, k, v, mask, config.head_dim**-0.5)
    return kernels.linear(kernels.merge_heads(y), w["attention.out_proj"])


def feed_forward(w: Tree, x: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Two linears with an activation in between. x (B, T, hidden), and so the result."""
    inner = kernels.linear(x, w["feed_forward.intermediate_dense"], activation=config.hidden_act)
    return kernels.linear(inner, w["feed_forward.output_dense"])


def language_adapter(w: Tree, x: Tensor) -> Tensor:
    """A norm and two linears, trained for one language (arXiv:2305.13516). x (B, T, hidden), and so the result."""
    y = kernels.layer_norm(x, w["adapter_layer.norm"], EPSILON)
    inner = kernels.linear(y, w["adapter_layer.linear_1"], activation="relu")
    return kernels.linear(inner, w["adapter_layer.linear_2"])


def adapter(w: Tree, x: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Convolutions with gates that make fewer frames, where there are any. (B, T, hidden) → (B, T', width)."""
    if not config.add_adapter:
        return x
    if "adapter.proj" in w:
        x = kernels.layer_norm(kernels.linear(x, w["adapter.proj"]), w["adapter.proj_layer_norm"], EPSILON)
    for block in w[ADAPTERS]:
        y = kernels.conv1d(x, block["conv"], stride=config.adapter_stride, padding=1)
        values, gates = ops.split(y, 2, axis=-1)
        x = values * ops.sigmoid(gates)
    return x
