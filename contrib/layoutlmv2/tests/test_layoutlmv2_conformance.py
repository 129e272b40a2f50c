"""LayoutLMv2 against the conformance kit; transformers with the visual backbone of `detectron2_stand_in.py`."""

from typing import Any

import numpy as np
from intermodal.testing import FamilyTests, Variant

VISUAL: dict[str, Any] = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NUM_GROUPS": 2,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 6,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.FPN.OUT_CHANNELS": 12,
    "MODEL.PIXEL_STD": [57.375, 57.120, 58.395],
}
TINY = {
    "vocab_size": 99,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 48,
    "max_2d_position_embeddings": 1024,
    "coordinate_size": 6,
    "shape_size": 12,
    "max_rel_pos": 12,
    "rel_pos_bins": 8,
    "max_rel_2d_pos": 200,
    "rel_2d_pos_bins": 12,
    "image_feature_pool_shape": [2, 2, 12],
    "detectron2_config_args": VISUAL,
    "pad_token_id": 0,
}


def visual(**changes: Any) -> dict[str, Any]:
    """The config of the visual backbone with some keys of detectron2 changed, dots as underscores of two."""
    return {"detectron2_config_args": {**VISUAL, **{key.replace("__", "."): value for key, value in changes.items()}}}


VARIANTS = {
    "num_attention_heads": {"num_attention_heads": 2},
    "hidden_size": {"hidden_size": 96, "coordinate_size": 15, "shape_size": 18},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "silu": {"hidden_act": "silu"},
    "tanh": {"hidden_act": "tanh"},
    "image regions that overlap": {"image_feature_pool_shape": [3, 5, 12]},
    "image regions without channels": Variant({"image_feature_pool_shape": [2, 2]}, same="the channels are known"),
    "coordinates wider than sizes": {"coordinate_size": 11, "shape_size": 2},
    "stride in 1x1": visual(MODEL__RESNETS__STRIDE_IN_1X1=True),
    "groups": visual(MODEL__RESNETS__NUM_GROUPS=4, MODEL__RESNETS__WIDTH_PER_GROUP=1),
    "pixels": visual(MODEL__PIXEL_MEAN=[90.0, 120.0, 20.0], MODEL__PIXEL_STD=[30.0, 50.0, 90.0]),
    "channels of the pyramid": {
        **visual(MODEL__FPN__OUT_CHANNELS=10),
        "image_feature_pool_shape": [2, 2, 10],
    },
    "no shortcut in the first stage": visual(MODEL__RESNETS__STEM_OUT_CHANNELS=8),
    "neither bias": {"has_relative_attention_bias": False, "has_spatial_attention_bias": False},
    "segment of a model that answers": Variant(
        {"has_visual_segment_embedding": True},
        architecture="LayoutLMv2ForQuestionAnswering",
        same="it has one whatever this says",
    ),
}
REFUSED = {
    "hidden_act": {"hidden_act": "quick_gelu"},
    "is_decoder": {"is_decoder": True},
    "heads that do not divide hidden_size": {"num_attention_heads": 5},
    "boxes narrower than hidden_size": {"shape_size": 10},
    "too few coordinates": {"max_2d_position_embeddings": 1000},
    "more regions than positions": {"image_feature_pool_shape": [7, 7, 12]},
    "channels that differ": {"image_feature_pool_shape": [2, 2, 16]},
    "no far bins": {"rel_pos_bins": 3},
    "far before near": {"max_rel_2d_pos": 3},
    "depth": visual(MODEL__RESNETS__DEPTH=18),
    "dilation": visual(MODEL__RESNETS__RES5_DILATION=2),
    "another backbone": visual(MODEL__BACKBONE__NAME="build_swint_fpn_backbone"),
    "a key of detectron2 that is not known": visual(MODEL__RESNETS__SQUEEZE=True),
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
}


UNREAD = {
    "rope_scaling": "every config class of transformers has this name for rope_parameters",
    "rope_parameters": "layers that predict several tokens read it, and LayoutLMv2 has none",
    "head_dim": "rotary embeddings read it, and LayoutLMv2 has none",
    "rms_norm_eps": "layers that predict several tokens read it, and LayoutLMv2 has none",
}


class TestLayoutLMv2(FamilyTests):
    family = "layoutlmv2"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = UNREAD

    @classmethod
    def inputs(cls, task: str) -> dict[str, np.ndarray]:
        """Two pages: tokens, their boxes, and the image."""
        random = np.random.default_rng(3)
        corners = np.sort(random.integers(0, 1001, (2, 40, 2, 2)), axis=2)
        return {
            "input_ids": random.integers(3, 99, (2, 40)).astype("int32"),
            "bbox": corners.reshape(2, 40, 4).astype("int32"),
            "image": random.integers(0, 256, (2, 3, 64, 96)).astype("float32"),
            "token_type_ids": np.broadcast_to(np.arange(40) >= 25, (2, 40)).astype("int32"),
        }
