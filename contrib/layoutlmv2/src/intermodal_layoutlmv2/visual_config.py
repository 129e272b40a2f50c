"""What `detectron2_config_args` of a LayoutLMv2 config says of the visual backbone, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from intermodal.api import Problem, fields, one_of

KEY = "detectron2_config_args"
_STAGES = ["res2", "res3", "res4", "res5"]

DEFAULT: Mapping[str, Any] = {
    "MODEL.MASK_ON": True,
    "MODEL.PIXEL_STD": [57.375, 57.120, 58.395],
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": _STAGES,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.NUM_CLASSES": 5,
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.RESNETS.DEPTH": 101,
    "MODEL.RESNETS.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RESNETS.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.RESNETS.OUT_FEATURES": _STAGES,
    "MODEL.RESNETS.NUM_GROUPS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}
"""What transformers takes where the config has no such key. What a given object lacks has detectron2's defaults."""

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage by depth (arXiv:1512.03385, table 1)."""


def _pixels(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(value)
    return tuple(fields.real(-1e6, 1e6).read(item) for item in value)


def _deviations(value: Any) -> tuple[float, ...]:
    if 0 in _pixels(value):
        raise ValueError(value)
    return _pixels(value)


def _depth(value: Any) -> int:
    if type(value) is not int or value not in BLOCKS:
        raise ValueError(value)
    return value


_SIZE = fields.integer(1, 1 << 14)
_READ: Mapping[str, tuple[str, fields.Check]] = {
    "MODEL.RESNETS.DEPTH": ("depth", fields.Check("50, 101 or 152", _depth)),
    "MODEL.RESNETS.NUM_GROUPS": ("groups", _SIZE),
    "MODEL.RESNETS.WIDTH_PER_GROUP": ("width_per_group", _SIZE),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": ("stem_channels", _SIZE),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": ("res2_channels", _SIZE),
    "MODEL.RESNETS.STRIDE_IN_1X1": ("stride_in_1x1", fields.BOOLEAN),
    "MODEL.FPN.OUT_CHANNELS": ("channels", _SIZE),
    "MODEL.PIXEL_MEAN": ("pixel_mean", fields.Check("a list of 3 numbers", _pixels)),
    "MODEL.PIXEL_STD": ("pixel_std", fields.Check("a list of 3 numbers other than 0", _deviations)),
}
"""Keys that the backbone is built from: the field, and what is accepted."""

_ONLY: Mapping[str, tuple[Any, Any]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN", "GeneralizedRCNN"),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone", "build_resnet_backbone"),
    "MODEL.FPN.IN_FEATURES": (_STAGES, []),
    "MODEL.FPN.NORM": ("", ""),
    "MODEL.FPN.FUSE_TYPE": ("sum", "sum"),
    "MODEL.RESNETS.OUT_FEATURES": (_STAGES, ["res4"]),
    "MODEL.RESNETS.NORM": ("FrozenBN", "FrozenBN"),
    "MODEL.RESNETS.RES5_DILATION": (1, 1),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False] * 4, [False] * 4),
}
"""Keys with one value that is supported: it, and what detectron2 takes where the key is absent."""

_INERT = (
    *("MODEL.MASK_ON", "MODEL.KEYPOINT_ON", "MODEL.LOAD_PROPOSALS", "MODEL.POST_NMS_TOPK_TEST", "MODEL.WEIGHTS"),
    *("MODEL.DEVICE", "MODEL.BACKBONE.FREEZE_AT", "MODEL.RESNETS.SIZES", "MODEL.RESNETS.ASPECT_RATIOS"),
    *("MODEL.RESNETS.DEFORM_MODULATED", "MODEL.RESNETS.DEFORM_NUM_GROUPS", "MODEL.ANCHOR_GENERATOR."),
    *("MODEL.PROPOSAL_GENERATOR.", "MODEL.RPN.", "MODEL.ROI_", "MODEL.RETINANET.", "MODEL.SEM_SEG_HEAD."),
    *("MODEL.PANOPTIC_FPN.", "INPUT.", "DATASETS.", "DATALOADER.", "SOLVER.", "TEST.", "GLOBAL."),
    *("OUTPUT_DIR", "SEED", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "FLOAT32_PRECISION"),
)
"""Keys, and beginnings of keys, of what LayoutLMv2 leaves away: heads that find objects, training, files."""


@dataclass(frozen=True)
class VisualConfig:
    """A ResNet or ResNeXt (arXiv:1611.05431) under a feature pyramid (arXiv:1612.03144). Defaults are detectron2's.

    Attributes:
        depth: 50, 101 or 152 layers.
        groups, width_per_group: of the 3x3 convolutions of the first stage; each stage has twice the width.
        stem_channels, res2_channels: that leave the stem, and the first stage.
        stride_in_1x1: whether a stage's first 1x1 convolution takes the stride, or its 3x3 convolution.
        channels: of the pyramid.
        pixel_mean, pixel_std: of blue, green and red, in values of 0 to 255.
    """

    depth: int = 50
    groups: int = 1
    width_per_group: int = 64
    stem_channels: int = 64
    res2_channels: int = 256
    stride_in_1x1: bool = True
    channels: int = 256
    pixel_mean: tuple[float, ...] = (103.530, 116.280, 123.675)
    pixel_std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """The fields that an object of valid keys names."""
        return cls(**{field: check.read(given[key]) for key, (field, check) in _READ.items() if key in given})

    @property
    def stages(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Name, blocks, and channels coming in, within and going out of each stage."""
        incoming, inner, outgoing = self.stem_channels, self.groups * self.width_per_group, self.res2_channels
        for name, blocks in zip(_STAGES, BLOCKS[self.depth], strict=True):
            yield name, blocks, incoming, inner, outgoing
            incoming, inner, outgoing = outgoing, 2 * inner, 2 * outgoing


def problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    """What cannot be honoured of an object of detectron2's keys, each by its name."""
    for key, value in given.items():
        if key in _READ:
            check = _READ[key][1]
            try:
                check.read(value)
            except (ValueError, TypeError):
                yield Problem(f"{KEY}[{key}]", value, f"expected {check.expected}")
        elif key not in _ONLY and not key.startswith(_INERT):
            yield Problem(f"{KEY}[{key}]", value, "this key of detectron2 is not known here, and may matter")
    for key, (supported, default) in _ONLY.items():
        value = given.get(key, default)
        if not one_of(supported)(list(value) if isinstance(value, tuple) else value):
            where = "" if key in given else ", which is detectron2's default"
            yield Problem(f"{KEY}[{key}]", value, f"only {supported!r} is supported{where}")
