"""What anybody could put in hidden places, without learning: the baselines of a rebuilt image.

Both see exactly what the autoencoder saw: the valid pixels of the visible tokens.
"""

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""The residual at which a surface counts as smooth, as a share of where it began."""
MOST_STEPS = 500


def mean_fill(x: Tensor, known: Tensor) -> Tensor:
    """Every pixel as the mean of the known pixels of its band and date.

    Where a date has none, the mean over all dates stands in; where the image has
    none, 0, which is the mean of the training pixels.

    Args:
        x: (B, T, C, H, W), normalised.
        known: (B, T, H, W) bool.
    """
    weight = known.unsqueeze(2).to(x.dtype)
    total, count = (x * weight).sum(dim=(-2, -1)), weight.sum(dim=(-2, -1))  # (B, T, C), (B, T, 1)
    overall = total.sum(dim=1, keepdim=True) / count.sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.where(count > 0, total / count.clamp(min=1), overall)
    return mean[..., None, None].expand_as(x)


def bilinear_fill(x: Tensor, known: Tensor, *, through_time: bool = False) -> Tensor:
    """Known pixels as they are; between them the smoothest surface that meets them all.

    Each unknown pixel is the mean of its neighbours (the discrete Laplace equation,
    solved by conjugate gradients; image borders are free). On a line that is linear
    interpolation, and a bilinear surface around a hole is continued exactly; holes may be
    of any shape. On real scenes it errs less than linear interpolation over triangles.

    Args:
        x: (B, T, C, H, W), normalised.
        known: (B, T, H, W) bool.
        through_time: the same place a date before and after are neighbours too, in
            departures from each date's mean: where one date is hidden, another may tell.
    """
    base = mean_fill(x, known)
    unknown = ~known.unsqueeze(2)
    axes = (-1, -2, 1) if through_time else (-1, -2)
    surface = torch.where(unknown, 0.0, x - base)
    residual = _roughness(surface, axes).neg().masked_fill(~unknown, 0.0)
    step, before = residual.clone(), _squares(residual)
    limit = before * TOLERANCE**2
    for _ in range(MOST_STEPS):
        if bool((before <= limit).all()):
            break
        slope = _roughness(step, axes).masked_fill(~unknown, 0.0)
        curvature = (step * slope).sum(dim=(1, 3, 4), keepdim=True)
        length = _ratio(before, curvature)
        surface += length * step
        residual -= length * slope
        after = _squares(residual)
        step = residual + _ratio(after, before) * step
        before = after
    return surface + base


def _roughness(surface: Tensor, axes: tuple[int, ...]) -> Tensor:
    """How far each pixel stands above its neighbours, summed over them."""
    total = torch.zeros_like(surface)
    for axis in axes:
        rise = surface.diff(dim=axis)
        count = surface.shape[axis] - 1
        total.narrow(axis, 1, count).add_(rise)
        total.narrow(axis, 0, count).sub_(rise)
    return total


def _squares(x: Tensor) -> Tensor:
    """Sum of squares of each image and band, (B, 1, C, 1, 1)."""
    return x.square().sum(dim=(1, 3, 4), keepdim=True)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1e-30), 0.0)
