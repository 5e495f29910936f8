"""Token maps read at single pixels, where all pixels of them would be a waste."""

import torch
import torch.nn.functional as F
from torch import Tensor


def tokens_at(maps: Tensor, row: Tensor, col: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Token maps at pixels, as bilinear interpolation to the whole window has them there.

    Args:
        maps: (D, h, w) float, of one window.
        row, col: (n,) pixels of it.
        shape: (H, W) of the window, in pixels.

    Returns:
        (n, D).
    """
    # From the window's top left corner, -1, to its bottom right one, 1.
    size = torch.tensor(shape).flip(0)
    places = (torch.stack([col, row], dim=1) + 0.5) / size * 2 - 1
    read = F.grid_sample(
        maps[None], places.float()[None, None], padding_mode="border", align_corners=False
    )
    return read[0, :, 0].T
