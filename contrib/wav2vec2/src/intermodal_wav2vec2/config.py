"""wav2vec 2.0's config: the fields of transformers' Wav2Vec2Config, and which of them act in training only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from intermodal.api import ModelConfig, Problem, Rule, fields, one_of

_TRAINING = "it acts in training only"


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config(ModelConfig):
    """Config of wav2vec 2.0 (arXiv:2006.11477), XLSR (arXiv:2006.13979) and MMS (arXiv:2305.13516).

    The limits are far above any real model; they keep an absurd value from being allocated.

    Attributes:
        vocab_size: rows of the CTC head.
        feat_extract_norm: `"group"`, a norm of each channel over time after the first convolution of the feature
            encoder; or `"layer"`, a norm over the channels after every one.
        conv_dim, conv_stride, conv_kernel: channels, strides and widths of the feature encoder's convolutions, in
            samples of the layer below. num_feat_extract_layers says again how many there are.
        num_conv_pos_embeddings: width, in frames, of the convolution that tells positions;
            num_conv_pos_embedding_groups: into how many groups its channels are divided.
        do_stable_layer_norm: norms before attention and feed-forward, and one behind the last layer.
        mask_time_prob, mask_feature_prob: above 0, the checkpoint has a vector for masked frames, used in training.
        use_weighted_layer_sum: heads read a weighted mean of all layers' outputs.
        add_adapter: convolutions behind the encoder make fewer frames: num_adapter_layers of adapter_kernel_size and
            adapter_stride, output_hidden_size wide.
        adapter_attn_dim: width of the language adapters in each layer (MMS); None for none.
        tdnn_dim, tdnn_kernel, tdnn_dilation, xvector_output_dim: of the speaker head.
        num_codevector_groups, num_codevectors_per_group, codevector_dim, proj_codevector_dim: of pretraining.
    """

    model_types: ClassVar[tuple[str, ...]] = ("wav2vec2",)
    checked_against: ClassVar[str] = "5.23.0"
    rules: ClassVar[Mapping[str, Rule]] = {
        "is_causal": Rule(one_of(None, False), "frames then see only those before them", "This family looks both ways"),
    }
    inert_keys: ClassVar[Mapping[str, str]] = {
        "tie_word_embeddings": "there are no word embeddings to tie",
        **dict.fromkeys(
            (
                "activation_dropout",
                "apply_spec_augment",
                "contrastive_logits_temperature",
                "ctc_loss_reduction",
                "ctc_zero_infinity",
                "diversity_loss_weight",
                "feat_extract_dropout",
                "feat_proj_dropout",
                "feat_quantizer_dropout",
                "final_dropout",
                "layerdrop",
                "mask_channel_length",
                "mask_channel_min_space",
                "mask_channel_other",
                "mask_channel_prob",
                "mask_channel_selection",
                "mask_feature_length",
                "mask_feature_min_masks",
                "mask_time_length",
                "mask_time_min_masks",
                "mask_time_min_space",
                "mask_time_other",
                "mask_time_selection",
                "num_negatives",
            ),
            _TRAINING,
        ),
    }

    vocab_size: int | None = fields.size(32, most=1 << 24, nullable=True)
    hidden_size: int = fields.size(768, most=1 << 18)
    num_hidden_layers: int = fields.size(12, most=1 << 12)
    num_attention_heads: int = fields.size(12, most=1 << 14)
    intermediate_size: int = fields.size(3072, most=1 << 20)
    hidden_act: str = fields.activation("gelu")
    layer_norm_eps: float = fields.number(1e-5, least=0.0, most=1.0)
    feat_extract_norm: str = fields.choice("group", {"group": "group", "layer": "layer"})
    feat_extract_activation: str = fields.activation("gelu")
    conv_dim: tuple[int, ...] = fields.sizes((512,) * 7, most=1 << 16)
    conv_stride: tuple[int, ...] = fields.sizes((5, 2, 2, 2, 2, 2, 2), most=1 << 16)
    conv_kernel: tuple[int, ...] = fields.sizes((10, 3, 3, 3, 3, 2, 2), most=1 << 16)
    num_feat_extract_layers: int | None = fields.size(None, most=256, nullable=True)
    conv_bias: bool = fields.flag(False)
    num_conv_pos_embeddings: int = fields.size(128, most=1 << 16)
    num_conv_pos_embedding_groups: int = fields.size(16, most=1 << 16)
    do_stable_layer_norm: bool = fields.flag(False)
    mask_time_prob: float = fields.number(0.05, least=0.0, most=1.0)
    mask_feature_prob: float = fields.number(0.0, least=0.0, most=1.0)
    use_weighted_layer_sum: bool = fields.flag(False)
    classifier_proj_size: int = fields.size(256, most=1 << 18)
    add_adapter: bool = fields.flag(False)
    adapter_kernel_size: int = fields.size(3, most=1 << 16)
    adapter_stride: int = fields.size(2, most=1 << 16)
    num_adapter_layers: int = fields.size(3, most=1 << 12)
    output_hidden_size: int | None = fields.size(None, most=1 << 18, nullable=True)
    adapter_attn_dim: int | None = fields.size(None, most=1 << 18, nullable=True)
    tdnn_dim: tuple[int, ...] = fields.sizes((512, 512, 512, 512, 1500), most=1 << 16)
    tdnn_kernel: tuple[int, ...] = fields.sizes((5, 3, 3, 1, 1), most=1 << 16)
    tdnn_dilation: tuple[int, ...] = fields.sizes((1, 2, 3, 1, 1), most=1 << 16)
    xvector_output_dim: int = fields.size(512, most=1 << 18)
    num_codevectors_per_group: int = fields.size(320, most=1 << 20)
    num_codevector_groups: int = fields.size(2, most=1 << 12)
    codevector_dim: int = fields.size(256, most=1 << 18)
    proj_codevector_dim: int = fields.size(256, most=1 << 18)
    pad_token_id: int | None = fields.token_id(0)
    bos_token_id: int | None = fields.token_id(1)
    eos_token_id: int | tuple[int, ...] | None = fields.token_ids(2)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def output_size(self) -> int:
        """Width of what the backbone returns."""
        return (self.output_hidden_size or self.hidden_size) if self.add_adapter else self.hidden_size

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples for each frame of the encoder."""
        return math.prod(self.conv_stride)

    @property
    def shortest_recording(self) -> int:
        """Samples that make one frame; fewer make none."""
        samples = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def has_language_adapters(self) -> bool:
        """Whether each layer has an adapter; those with their norms behind have none in transformers either."""
        return self.adapter_attn_dim is not None and self.do_stable_layer_norm

    def resolve(self) -> None:
        """See `ModelConfig.resolve`: without a width of its own, the adapter keeps the encoder's."""
        layers = self.num_feat_extract_layers or len(self.conv_dim)
        object.__setattr__(self, "num_feat_extract_layers", layers)
        object.__setattr__(self, "output_hidden_size", self.output_hidden_size or self.hidden_size)

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        multiples = {
            "num_attention_heads": "hidden_size",
            "num_conv_pos_embedding_groups": "hidden_size",
            "num_codevector_groups": "codevector_dim",
        }
        for name, of in multiples.items():
            if getattr(self, of) % getattr(self, name):
                yield Problem(of, getattr(self, of), f"must be a multiple of {name} = {getattr(self, name)}")
        if self.num_feat_extract_layers != len(self.conv_dim):
            expected = f"expected {len(self.conv_dim)}, the entries of conv_dim"
            yield Problem("num_feat_extract_layers", self.num_feat_extract_layers, expected)
        for names in (("conv_dim", "conv_stride", "conv_kernel"), ("tdnn_dim", "tdnn_kernel", "tdnn_dilation")):
            first, *others = names
            for name in others:
                if len(getattr(self, name)) != len(getattr(self, first)):
                    expected = f"expected {len(getattr(self, first))} entries, one for each of {first}"
                    yield Problem(name, getattr(self, name), expected)
