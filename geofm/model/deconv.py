"""The head of the models fine-tuned from Prithvi-EO-1.0: token grid to pixels by deconvolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.model.pyramid import resize


class DeconvHead(nn.Module):
    """Four deconvolutions, sixteen times the side; then one 3 x 3 convolution.

    Args:
        dates: T', maps of dates in one feature map.
        embed_dim: channels of one date.
        channels: of the convolution.
    """

    def __init__(self, dates: int, embed_dim: int, *, channels: int, classes: int) -> None:
        super().__init__()
        self.dates = dates
        self.neck = Upscale(dates * embed_dim)
        self.convs = nn.ModuleList([ConvBn(dates * embed_dim, channels)])
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:
        """One map (B, T' * D, h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        (feature,) = features
        feature = dates_fastest(feature, self.dates)
        if self.training:
            return self._logits(feature, x)
        # The full width at full resolution: one sample at a time keeps memory bounded.
        return torch.cat([self._logits(sample, x) for sample in feature.chunk(len(feature))])

    def _logits(self, feature: Tensor, x: Tensor) -> Tensor:
        y = self.neck(feature)
        for conv in self.convs:
            y = conv(y)
        return resize(self.conv_seg(y), x, align_corners=False)


def dates_fastest(feature: Tensor, dates: int) -> Tensor:
    """Channels ``t * D + d`` (B, T' * D, h, w) as ``d * T' + t``, the order of these heads."""
    batch, _, height, width = feature.shape
    return feature.reshape(batch, dates, -1, height, width).transpose(1, 2).flatten(1, 2)


class Upscale(nn.Module):
    """A map to sixteen times its side, at its full width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fpn1, self.fpn2 = _quadruple(width), _quadruple(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to (B, width, 16 h, 16 w)."""
        y: Tensor = self.fpn2(self.fpn1(x))
        return y


def _quadruple(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(width, width, 2, stride=2),
        ChannelNorm(width),
        nn.GELU(),
        nn.ConvTranspose2d(width, width, 2, stride=2),
    )


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w), likewise out."""
        y: Tensor = self.ln(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y


class ConvBn(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        return F.relu(self.bn(self.conv(x)))
