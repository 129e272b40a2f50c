"""Where LayoutLMv2 checkpoints keep the visual backbone, under detectron2's names."""

from __future__ import annotations

from dataclasses import replace

from intermodal.api import Weight, conv2d, norm, numbered

from intermodal_layoutlmv2.visual_config import VisualConfig

BACKBONE = "visual.backbone"
BOTTOM_UP = f"{BACKBONE}.bottom_up"
LEVELS = (2, 3, 4, 5)
"""Levels of the pyramid, each of half the resolution of the one before. Only the first is used in the end."""


def visual_backbone(config: VisualConfig) -> list[Weight]:
    """Weights of the ResNet, and of the feature pyramid over it."""
    weights = normed(f"{BOTTOM_UP}.stem.conv1", 3, config.stem_channels, 7)
    pyramid = []
    for level, (name, blocks, incoming, inner, outgoing) in zip(LEVELS, config.stages, strict=True):
        shortcut = normed("shortcut", incoming, outgoing, 1) if incoming != outgoing else []
        first = [*shortcut, *_block(incoming, inner, outgoing, config.groups)]
        others = _block(outgoing, inner, outgoing, config.groups)
        weights += numbered(f"{BOTTOM_UP}.{name}", [first, *[others] * (blocks - 1)])
        pyramid += [
            *conv2d(f"{BACKBONE}.fpn_lateral{level}", outgoing, config.channels, (1, 1), bias=True),
            *conv2d(f"{BACKBONE}.fpn_output{level}", config.channels, config.channels, (3, 3), bias=True),
        ]
    return [*weights, *pyramid]


def normed(name: str, inputs: int, outputs: int, side: int, *, groups: int = 1) -> list[Weight]:
    """A convolution without a bias, and a batch norm whose statistics and scales training leaves as they are."""
    statistics = [
        *norm(f"{name}.norm", outputs, bias=True),
        Weight(f"{name}.norm.running_mean", (outputs,), "bias", (None,)),
        Weight(f"{name}.norm.running_var", (outputs,), "norm", (None,)),
    ]
    return [*conv2d(name, inputs, outputs, (side, side), groups=groups), *(replace(w, frozen=True) for w in statistics)]


def _block(incoming: int, inner: int, outgoing: int, groups: int) -> list[Weight]:
    """The three convolutions of a bottleneck."""
    return [
        *normed("conv1", incoming, inner, 1),
        *normed("conv2", inner, inner, 3, groups=groups),
        *normed("conv3", inner, outgoing, 1),
    ]
