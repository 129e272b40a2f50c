"""What this package adds to intermodal: the ViT family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

_OTHER_MODEL = "it is another architecture with tensors of the same names; it is a family of its own"

VIT = Family(
    name="vit",
    model_types=("vit",),
    config="intermodal_vit.config:ViTConfig",
    backbone="intermodal_vit.model:ViTBackbone",
    weight_map="intermodal_vit.weights:weight_map",
    architectures={
        "ViTForImageClassification": "image-classification",
        "ViTModel": "feature-extraction",
    },
    image_processor="intermodal_vit.image_processor:ViTImageProcessor",
    refused={
        "ViTForMaskedImageModeling": "it paints masked patches, and Keras tasks for that are not there; "
        'load(uri, task="feature-extraction") loads its encoder, without the mask token and the decoder',
        "deit": f"{_OTHER_MODEL}: DeiT has a second token, for distillation",
        "vit_mae": f"{_OTHER_MODEL}: ViT-MAE drops most patches at random, and has fixed positions",
        "vit_msn": f"{_OTHER_MODEL}: ViT-MSN reads other positions",
        "vitdet": f"{_OTHER_MODEL}: ViTDet attends in windows",
        "dinov2": f"{_OTHER_MODEL}: DINOv2 scales its residuals",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the ViT family."""
    return [VIT]
