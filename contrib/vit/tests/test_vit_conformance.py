"""ViT against the conformance kit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from intermodal.testing import FamilyTests, Variant

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "image_size": 20,
    "patch_size": 4,
}
ENCODER = "ViTModel"
VARIANTS = {
    "num_attention_heads": {"num_attention_heads": 2},
    "gelu_new": Variant(
        {"hidden_act": "gelu_new", "intermediate_size": 400, "num_hidden_layers": 4}, architecture=ENCODER
    ),
    "relu": {"hidden_act": "relu"},
    "silu": {"hidden_act": "silu"},
    "tanh": {"hidden_act": "tanh"},
    "wide image": {"image_size": [12, 28]},
    "wide patch": {"patch_size": [5, 2]},
    "pixels beyond the last patch": {"image_size": 22},
    "grey": {"num_channels": 1},
    "pooler_act": Variant({"pooler_act": "gelu"}, architecture=ENCODER),
    "narrow pooler": Variant({"pooler_output_size": 12}, architecture=ENCODER),
}
REFUSED = {
    "hidden_act": {"hidden_act": "quick_gelu"},
    "pooler_act": {"pooler_act": "sigmoid"},
    "three sides": {"image_size": [20, 20, 3]},
    "patch larger than image": {"patch_size": 21},
    "heads that do not divide hidden_size": {"hidden_size": 50},
    "is_causal": {"is_causal": True},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
}
UNREAD = {
    "rope_scaling": "every config class of transformers has this name for rope_parameters",
    "rope_parameters": "layers that predict several tokens read it, and ViT has none",
    "head_dim": "rotary embeddings read it, and ViT has none",
    "rms_norm_eps": "layers that predict several tokens read it, and ViT has none",
    "vocab_size": "it sizes masks of tokens in generation, and ViT generates nothing",
    "max_position_embeddings": "it limits what is generated, and ViT generates nothing",
}


def sides(value: Any) -> tuple[int, int]:
    """Height and width of a field that is a number or both."""
    return (value, value) if isinstance(value, int) else tuple(value)


class TestViT(FamilyTests):
    family = "vit"
    tiny = TINY
    variants = VARIANTS
    refused = REFUSED
    unread_keys = UNREAD

    @classmethod
    def inputs_for(cls, task: str, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Two images of the size that the config names."""
        shape = (2, fields.get("num_channels", 3), *sides(fields["image_size"]))
        return {"pixel_values": np.random.default_rng(3).standard_normal(shape).astype("float32")}
