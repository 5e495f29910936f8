"""What the convolutional heads share: a pyramid from one token grid, and its building blocks.

Names of parameters are those of the published heads, whose weights load unchanged.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Four maps of one grid to levels of 4, 2, 1 and 1/2 times its side.

    Args:
        width: channels of each map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = (width // 4, width // 2, width, width)
        self.fpn1 = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            nn.BatchNorm2d(width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
        )
        self.fpn2 = nn.Sequential(nn.ConvTranspose2d(width, width // 2, 2, stride=2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps (B, width, h, w), first block first, to levels, finest first."""
        first, second, third, fourth = features
        # A grid of a single token has no coarser one.
        coarse = F.max_pool2d(fourth, 2) if min(fourth.shape[-2:]) > 1 else fourth
        return [self.fpn1(first), self.fpn2(second), third, coarse]


def resize(x: Tensor, like: Tensor, *, align_corners: bool) -> Tensor:
    """``x`` (B, C, h, w) with the rows and columns of ``like``, bilinear."""
    size = (like.shape[-2], like.shape[-1])
    if size == (x.shape[-2], x.shape[-1]):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)
