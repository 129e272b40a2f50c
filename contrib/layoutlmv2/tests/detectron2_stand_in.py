"""LayoutLMv2's visual backbone in plain PyTorch, under detectron2's names: what transformers is tested with.

All else is transformers' own. `test_visual_backbone.py` compares this with torchvision's modules, and with detectron2
itself where that is installed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
DEFAULTS = {
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.FPN.OUT_CHANNELS": 256,
    MEAN: [103.530, 116.280, 123.675],
    STD: [1.0, 1.0, 1.0],
}


class FrozenNorm(nn.Module):
    """A batch norm whose statistics are buffers, and random, so that none is without effect."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", 1 + 0.2 * torch.randn(width))
        self.register_buffer("bias", 0.2 * torch.randn(width))
        self.register_buffer("running_mean", 0.2 * torch.randn(width))
        self.register_buffer("running_var", 0.5 + torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


class Normed(nn.Conv2d):
    """A convolution with its norm inside, as detectron2 names the two."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, bias=False, **options)
        self.norm = FrozenNorm(self.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    def __init__(self, incoming: int, inner: int, outgoing: int, groups: int, stride: int, early: bool) -> None:
        super().__init__()
        self.shortcut = Normed(incoming, outgoing, 1, stride=stride) if incoming != outgoing else None
        self.conv1 = Normed(incoming, inner, 1, stride=stride if early else 1)
        self.conv2 = Normed(inner, inner, 3, stride=1 if early else stride, padding=1, groups=groups)
        self.conv3 = Normed(inner, outgoing, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(self.conv2(self.conv1(x).relu()).relu())
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()


class Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Normed(3, width, 7, stride=2, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(self.conv1(x).relu(), 3, 2, 1)


class Pyramid(nn.Module):
    """A ResNet and a feature pyramid, as detectron2's FPN; gives the finest level."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        super().__init__()
        resnet = {key.rpartition(".")[2]: value for key, value in chosen.items() if ".RESNETS." in key}
        incoming, groups = resnet["STEM_OUT_CHANNELS"], resnet["NUM_GROUPS"]
        inner, outgoing = groups * resnet["WIDTH_PER_GROUP"], resnet["RES2_OUT_CHANNELS"]
        channels = chosen["MODEL.FPN.OUT_CHANNELS"]
        self.bottom_up = nn.ModuleDict({"stem": Stem(incoming)})
        for level, blocks in enumerate(BLOCKS[resnet["DEPTH"]], start=2):
            made = []
            for number in range(blocks):
                stride = 2 if number == 0 and level > 2 else 1
                made.append(Bottleneck(incoming, inner, outgoing, groups, stride, resnet["STRIDE_IN_1X1"]))
                incoming = outgoing
            self.bottom_up[f"res{level}"] = nn.Sequential(*made)
            self.add_module(f"fpn_lateral{level}", nn.Conv2d(outgoing, channels, 1))
            self.add_module(f"fpn_output{level}", nn.Conv2d(channels, channels, 3, padding=1))
            inner, outgoing = 2 * inner, 2 * outgoing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        x = self.bottom_up["stem"](x)
        for level in range(2, 6):
            x = self.bottom_up[f"res{level}"](x)
            levels.append(getattr(self, f"fpn_lateral{level}")(x))
        finest = levels.pop()
        while levels:
            finest = levels.pop() + F.interpolate(finest, scale_factor=2.0, mode="nearest")
        return self.fpn_output2(finest)


class VisualBackbone(nn.Module):
    """In the place of transformers' LayoutLMv2VisualBackbone."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        chosen = {**DEFAULTS, **config.detectron2_config_args}
        self.backbone = Pyramid({key: chosen[key] for key in DEFAULTS})
        # transformers fills the two from `cfg` where it loads a checkpoint.
        self.cfg = SimpleNamespace(MODEL=SimpleNamespace(PIXEL_MEAN=chosen[MEAN], PIXEL_STD=chosen[STD]))
        self.register_buffer("pixel_mean", torch.tensor(chosen[MEAN]).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(chosen[STD]).view(3, 1, 1), persistent=False)
        self.shape = tuple(config.image_feature_pool_shape[:2])
        if len(config.image_feature_pool_shape) == 2:
            config.image_feature_pool_shape = [*self.shape, chosen["MODEL.FPN.OUT_CHANNELS"]]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.backbone((images - self.pixel_mean) / self.pixel_std)
        x = F.adaptive_avg_pool2d(x, self.shape)
        return x.flatten(start_dim=2).transpose(1, 2).contiguous()


def install() -> None:
    """Let transformers build its models with this backbone, where it would ask for detectron2."""
    from transformers.models.layoutlmv2 import modeling_layoutlmv2 as modeling

    class Never:
        """What no module is an instance of."""

    modeling.requires_backends = lambda *_: None  # pyright: ignore
    modeling.LayoutLMv2VisualBackbone = VisualBackbone  # pyright: ignore
    modeling.detectron2 = SimpleNamespace(layers=SimpleNamespace(FrozenBatchNorm2d=Never))  # pyright: ignore
