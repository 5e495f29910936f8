"""The UPerNet head (Xiao et al. 2018, https://arxiv.org/abs/1807.10221), as TerraTorch has it."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.model.pyramid import Pyramid, resize
from geofm.model.resized import conv_resized

POOLED = (1, 2, 3, 6)
"""Sides of the maps that the whole window is averaged to."""


class UpernetHead(nn.Module):
    """The window at a glance, passed down a pyramid; all levels together give the logits.

    Args:
        width: channels of each of the four maps.
        channels: of every level inside.
    """

    def __init__(self, width: int, *, channels: int, classes: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(width)
        *lower, top = self.pyramid.widths
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvNorm(top, channels, 1)) for side in POOLED
        )
        self.bottleneck = ConvNorm(top + len(POOLED) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNorm(level, channels, 1) for level in lower)
        self.fpn_convs = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in lower)
        self.fpn_bottleneck = ConvNorm((len(lower) + 1) * channels, channels, 3)
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:
        """Four maps (B, width, h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        *lower, top = self.pyramid(features)
        levels = [lateral(level) for lateral, level in zip(self.lateral_convs, lower, strict=True)]
        levels.append(self._glance(top))
        for coarse, fine in pairwise(reversed(range(len(levels)))):
            levels[fine] = levels[fine] + resize(levels[coarse], levels[fine], align_corners=True)
        levels[:-1] = [conv(y) for conv, y in zip(self.fpn_convs, levels[:-1], strict=True)]
        last = self.fpn_bottleneck
        y = F.relu(last.norm(conv_resized(levels, last.conv.weight)))
        return resize(self.logits(y), x, align_corners=False)

    def _glance(self, top: Tensor) -> Tensor:
        """The coarsest level with averages over ever larger parts of the window."""
        pooled = [resize(pool(top), top, align_corners=True) for pool in self.psp_modules]
        y: Tensor = self.bottleneck(torch.cat([top, *pooled], dim=1))
        return y


class ConvNorm(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        return F.relu(self.norm(self.conv(x)))
