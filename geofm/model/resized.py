"""A convolution over maps of several sizes, without resizing them.

A 3 x 3 convolution adds nine products of the channels, each shifted; resizing is linear and
treats every channel alike. So the products may be made first, on the coarse map, which has a
quarter of the pixels or less, and shifted as they are resized: the same sums in another order.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def conv_resized(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """A convolution of maps side by side, as if each had the rows and columns of the first.

    Args:
        maps: (B, C_i, h_i, w_i); resizing is bilinear, corners on corners.
        weight: (K, sum of C_i, 3, 3), zeros around the maps.

    Returns:
        (B, K, h_0, w_0).
    """
    first, *others = maps
    own, *parts = torch.split(weight, [level.shape[1] for level in maps], dim=1)
    y = F.conv2d(first, own, padding=1)
    for level, part in zip(others, parts, strict=True):
        y = y + _conv_coarse(level, part, (first.shape[-2], first.shape[-1]))
    return y


def _conv_coarse(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """A coarse map (B, C, h, w), convolved as if it had ``size``: (B, K, *size)."""
    outputs, channels = weight.shape[:2]
    ninefold = weight.permute(2, 3, 0, 1).reshape(9 * outputs, channels, 1, 1)
    products = F.conv2d(x, ninefold).view(len(x), 3, 3, outputs, *x.shape[-2:])
    with torch.autocast(x.device.type, enabled=False):  # a resize is never one of bfloat16
        rows = _shifted_resize(size[0], x.shape[-2], x.device)
        cols = _shifted_resize(size[1], x.shape[-1], x.device)
        wide = torch.einsum("bijkhw,jxw->bikhx", products.float(), cols)
        return torch.einsum("bikhx,iyh->bkyx", wide, rows)


def _shifted_resize(fine: int, coarse: int, device: torch.device) -> Tensor:
    """(3, fine, coarse): what the line before, at and after each fine line is of coarse lines."""
    lines = torch.eye(coarse, device=device)[None]
    resized = F.interpolate(lines, fine, mode="linear", align_corners=True)
    padded = F.pad(resized[0].T, (0, 0, 1, 1))
    return torch.stack([padded[shift : shift + fine] for shift in range(3)])
