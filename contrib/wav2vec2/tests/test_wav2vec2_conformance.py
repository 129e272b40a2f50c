"""wav2vec 2.0 against the conformance kit."""

from collections.abc import Mapping

import numpy as np
from intermodal.testing import FamilyTests, Variant

from .conftest import TINY

CLASSIFIER = "Wav2Vec2ForSequenceClassification"
SPEAKERS = "Wav2Vec2ForXVector"
PRETRAINING = "Wav2Vec2ForPreTraining"
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}

VARIANTS = {
    "vocab_size": Variant({"vocab_size": 50}, architecture="Wav2Vec2ForCTC"),
    "relu": {"hidden_act": "relu"},
    "gelu_new": {"feat_extract_activation": "gelu_new"},
    "tanh": {"feat_extract_activation": "tanh"},
    "silu": {"feat_extract_activation": "silu", "hidden_act": "swish"},
    "norms of every convolution": {"feat_extract_norm": "layer"},
    "norms before": {"do_stable_layer_norm": True},
    "as XLSR": {**STABLE, "conv_bias": True},
    "language adapters": {**STABLE, "adapter_attn_dim": 6},
    "language adapters that norms behind do without": Variant(
        {"adapter_attn_dim": 6}, same="layers with their norms behind have no adapter"
    ),
    "convolutions": {"conv_dim": [24, 8], "conv_stride": [3, 4], "conv_kernel": [7, 5]},
    "an odd width of positions": {"num_conv_pos_embeddings": 9},
    "groups of positions": {"num_conv_pos_embedding_groups": 16},
    "adapter": {"add_adapter": True},
    "adapter of another shape": {
        "add_adapter": True,
        "output_hidden_size": 20,
        "num_adapter_layers": 2,
        "adapter_kernel_size": 4,
        "adapter_stride": 3,
    },
    "adapter of a recogniser": Variant({"add_adapter": True, "output_hidden_size": 20}, architecture="Wav2Vec2ForCTC"),
    "never masked": {"mask_time_prob": 0.0},
    "masked features": Variant(
        {"mask_feature_prob": 0.5}, same="the vector for masked frames is there already, and used in training only"
    ),
    "weighted layers": Variant({"use_weighted_layer_sum": True}, architecture=CLASSIFIER),
    "weighted layers, norms before": Variant({**STABLE, "use_weighted_layer_sum": True}, architecture=CLASSIFIER),
    "weighted layers of frames": Variant(
        {"use_weighted_layer_sum": True}, architecture="Wav2Vec2ForAudioFrameClassification"
    ),
    "weighted layers of speakers": Variant({"use_weighted_layer_sum": True}, architecture=SPEAKERS),
    "classifier_proj_size": Variant({"classifier_proj_size": 20}, architecture=CLASSIFIER),
    "tdnn": Variant({"tdnn_dim": [8, 20], "tdnn_kernel": [2, 5], "tdnn_dilation": [3, 1]}, architecture=SPEAKERS),
    "xvector_output_dim": Variant({"xvector_output_dim": 24}, architecture=SPEAKERS),
    "num_codevectors_per_group": Variant({"num_codevectors_per_group": 30}, architecture=PRETRAINING),
    "num_codevector_groups": Variant({"num_codevector_groups": 4}, architecture=PRETRAINING),
    "codevector_dim": Variant({"codevector_dim": 20}, architecture=PRETRAINING),
    "proj_codevector_dim": Variant({"proj_codevector_dim": 10}, architecture=PRETRAINING),
}
REFUSED = {
    "hidden_act": {"hidden_act": "quick_gelu"},
    "feat_extract_activation": {"feat_extract_activation": "selu"},
    "another norm": {"feat_extract_norm": "batch"},
    "heads that do not divide hidden_size": {"num_attention_heads": 5},
    "groups that do not divide hidden_size": {"num_conv_pos_embedding_groups": 5},
    "groups that do not divide codevector_dim": {"num_codevector_groups": 3},
    "a stride too few": {"conv_stride": [5, 2]},
    "a dilation too few": {"tdnn_dilation": [1, 2]},
    "another number of convolutions": {"num_feat_extract_layers": 5},
    "no convolution": {"conv_dim": []},
    "is_causal": {"is_causal": True},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
}
UNREAD = {
    "inputs_to_logits_ratio": "a property of transformers' class; with the key in a file, transformers loads no config",
    "max_position_embeddings": "generation reads it, and wav2vec 2.0 generates nothing",
    "rope_scaling": "every config class of transformers has this name for rope_parameters",
    "rope_parameters": "layers that predict several tokens read it, and wav2vec 2.0 has none",
    "head_dim": "rotary embeddings read it, and wav2vec 2.0 has none",
    "rms_norm_eps": "layers that predict several tokens read it, and wav2vec 2.0 has none",
}


class TestWav2Vec2(FamilyTests):
    family = "wav2vec2"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = UNREAD

    @classmethod
    def inputs(cls, task: str) -> dict[str, np.ndarray]:
        """Two recordings of 800 samples."""
        return {"input_values": np.random.default_rng(3).standard_normal((2, 800)).astype("float32")}

    @classmethod
    def padded(cls, inputs: Mapping[str, np.ndarray], side: str) -> dict[str, np.ndarray] | None:
        """Zeros behind the second recording; padding before one is refused."""
        if side == "left":
            return None
        values, mask = inputs["input_values"].copy(), np.ones(inputs["input_values"].shape, "int32")
        values[-1, 600:] = mask[-1, 600:] = 0
        return {"input_values": values, "attention_mask": mask}
