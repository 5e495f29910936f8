"""The U-Net head of TerraTorch and segmentation_models.pytorch, on a transformer's maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.model.pyramid import Pyramid, resize


class UnetHead(nn.Module):
    """From the coarsest level of a pyramid back to the finest, joining each on the way.

    Args:
        width: channels of each of the four maps.
        channels: of the last block; the three before have twice as many each.
        upsample_last: whether the last block, which joins no level, doubles the
            side too: segmentation_models.pytorch did to 0.4 and does not from
            0.5 on. The weights do not tell, the logits differ.
    """

    def __init__(self, width: int, *, channels: int, classes: int, upsample_last: bool) -> None:
        super().__init__()
        self.upsample_last = upsample_last
        self.pyramid = Pyramid(width)
        finest, finer, fine, coarse = self.pyramid.widths
        steps = (8 * channels, 4 * channels, 2 * channels, channels)
        inputs = (coarse + fine, steps[0] + finer, steps[1] + finest, steps[2])
        self.blocks = nn.ModuleList(map(UnetBlock, inputs, steps))
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:
        """Four maps (B, width, h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        finest, finer, fine, y = self.pyramid(features)
        *joining, last = self.blocks
        for block, level in zip(joining, (fine, finer, finest), strict=True):
            y = F.interpolate(y, size=(level.shape[-2], level.shape[-1]), mode="nearest")
            y = block(torch.cat([y, level], dim=1))
        if self.upsample_last:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        return resize(self.logits(last(y)), x, align_corners=False)


class UnetBlock(nn.Module):
    """Two 3 x 3 convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv_norm_relu(inputs, outputs)
        self.conv2 = _conv_norm_relu(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        y: Tensor = self.conv2(self.conv1(x))
        return y


def _conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
