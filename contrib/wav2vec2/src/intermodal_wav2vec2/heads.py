"""Heads of wav2vec 2.0 that are more than a classifier: CTC, labels of frames, speaker vectors, pretraining."""

from __future__ import annotations

from typing import Any

import keras
from intermodal.api import Bundle, Step, TaskModel, Tree, kernels, ops

from intermodal_wav2vec2.config import Wav2Vec2Config
from intermodal_wav2vec2.model import frame_counts, frames_within, head_input
from intermodal_wav2vec2.weights import TDNN

Tensor = Any

SERIALIZED = "intermodal_wav2vec2"


@keras.saving.register_keras_serializable(package=SERIALIZED)
class SpeechRecognition(TaskModel):
    """Called, it returns logits (batch, frames, vocabulary) in float32, for connectionist temporal classification."""

    task = "automatic-speech-recognition"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, T, vocabulary)."""
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        return ops.cast(kernels.linear(hidden, w["head"]["lm_head"]), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, frames, vocabulary), float32."""
        return keras.KerasTensor((batch, length, self.config.vocab_size), dtype="float32")


@keras.saving.register_keras_serializable(package=SERIALIZED)
class FrameClassification(TaskModel):
    """Called, it returns logits (batch, frames, labels) in float32."""

    task = "audio-frame-classification"

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits (B, T, labels)."""
        hidden = head_input(self.backbone.forward(w, step))
        return ops.cast(kernels.linear(hidden, w["head"]["classifier"]), "float32")

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, frames, labels), float32."""
        return keras.KerasTensor((batch, length, self.config.num_labels), dtype="float32")


@keras.saving.register_keras_serializable(package=SERIALIZED)
class SpeakerVectors(TaskModel):
    """Called, it returns `embeddings`, a vector for each speaker, and `logits`: each (batch, xvector_output_dim).

    Dilated convolutions over frames, and mean and deviation of what they give (x-vectors, ICASSP 2018).
    """

    task = "audio-xvector"

    def compute(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Vectors and logits, in float32."""
        config, head = self.config, w["head"]
        x = kernels.linear(head_input(self.backbone.forward(w, step)), head["projector"])
        for block, width, dilation in zip(head[TDNN], config.tdnn_kernel, config.tdnn_dilation, strict=True):
            x = kernels.relu(kernels.conv1d(x, _as_convolution(block["kernel"], width), dilation=dilation))
        counts = None
        if step.valid is not None:
            # As in transformers, which leaves dilation out of account: all frames are then counted that are there.
            counts = frame_counts(step.valid, config) - sum(width - 1 for width in config.tdnn_kernel)
            counts = ops.minimum(counts, kernels.length_of(x))
        pooled = ops.concatenate(_statistics(x, counts), axis=-1)
        vectors = kernels.linear(pooled, head["feature_extractor"])
        logits = kernels.linear(vectors, head["classifier"])
        return {"logits": ops.cast(logits, "float32"), "embeddings": ops.cast(vectors, "float32")}

    def output_spec(self, batch: int | None, length: int | None) -> dict[str, Any]:
        """Two of (batch, xvector_output_dim), float32."""
        shape = (batch, self.config.xvector_output_dim)
        return {name: keras.KerasTensor(shape, dtype="float32") for name in ("logits", "embeddings")}


def _as_convolution(w: Bundle, width: int) -> Bundle:
    """A linear of `width` frames side by side, (out, width · in), as the kernel of a convolution (out, in, width)."""
    outputs, inputs = w.weight.shape
    kernel = ops.transpose(ops.reshape(w.weight, (outputs, width, inputs // width)), (0, 2, 1))
    return w._replace(weight=kernel)


def _statistics(x: Tensor, counts: Tensor | None) -> list[Tensor]:
    """Mean and sample deviation over the first `counts` (B,) frames, or over all of x (B, T, C): each (B, C)."""
    if counts is None:
        number, within = kernels.length_of(x), 1.0
    else:
        number = ops.cast(counts, x.dtype)[:, None]
        within = ops.cast(frames_within(counts, kernels.length_of(x)), x.dtype)[:, :, None]
    mean = ops.sum(x * within, axis=1) / number
    squares = ops.sum(ops.square(x - mean[:, None]) * within, axis=1)
    return [mean, ops.sqrt(squares / (number - 1))]


@keras.saving.register_keras_serializable(package=SERIALIZED)
class Pretraining(TaskModel):
    """Called, it returns what pretraining compares, and how much of the codebook is in use.

    `projected_states` and `projected_quantized_states`, each (batch, frames, proj_codevector_dim), and
    `codevector_perplexity` (). As in inference, the likeliest code vectors are taken.
    """

    task = "pretraining"

    def compute(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Both projections, and the perplexity, in float32."""
        outputs, head = self.backbone.forward(w, step), w["head"]
        states = kernels.linear(outputs["last_hidden_state"], head["project_hid"])
        chosen, perplexity = _quantize(head, outputs["extract_features"], self.config)
        found = {
            "projected_states": states,
            "projected_quantized_states": kernels.linear(chosen, head["project_q"]),
            "codevector_perplexity": perplexity,
        }
        return {name: ops.cast(value, "float32") for name, value in found.items()}

    def compute_output_spec(self, inputs: Any, **_: Any) -> dict[str, Any]:
        """Two of (batch, frames, proj_codevector_dim) and one of (), float32."""
        main = inputs[self.main_input] if isinstance(inputs, dict) else inputs
        shapes, width = self.backbone.output_shapes(tuple(main.shape)), self.config.proj_codevector_dim
        named = {
            "projected_states": (*shapes["last_hidden_state"][:2], width),
            "projected_quantized_states": (*shapes["extract_features"][:2], width),
            "codevector_perplexity": (),
        }
        return {name: keras.KerasTensor(shape, dtype="float32") for name, shape in named.items()}


def _quantize(head: Tree, features: Tensor, config: Wav2Vec2Config) -> tuple[Tensor, Tensor]:
    """The likeliest code vector of each group, side by side (B, T, codevector_dim), and the perplexity ()."""
    groups, entries = config.num_codevector_groups, config.num_codevectors_per_group
    scores = kernels.linear(features, head["quantizer.weight_proj"])
    batch, length = ops.shape(scores)[0], ops.shape(scores)[1]
    best = ops.argmax(ops.reshape(scores, (batch, length, groups, entries)), axis=-1)
    chosen = ops.cast(ops.one_hot(best, entries), features.dtype)
    codebook = ops.cast(head["quantizer.codevectors"].weight, features.dtype)
    codebook = ops.reshape(codebook, (groups, entries, config.codevector_dim // groups))
    vectors = ops.reshape(ops.einsum("btge,gew->btgw", chosen, codebook), (batch, length, config.codevector_dim))
    shares = ops.cast(ops.mean(chosen, axis=(0, 1)), "float32")
    entropy = -ops.sum(ops.where(shares > 0, shares * ops.log(ops.maximum(shares, 1e-30)), 0.0), axis=-1)
    return vectors, ops.sum(ops.exp(entropy))
