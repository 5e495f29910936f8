"""Stored numbers to what a model sees; flips and turns that follow from a seed."""

from torch import Tensor


def normalise(
    dn: Tensor, valid: Tensor, *, scale: Tensor, offset: Tensor, mean: Tensor, std: Tensor
) -> Tensor:
    """Stored numbers to normalised reflectance, in training and in mapping alike.

    One expression in one order, float32 and never compiled: folding it into
    one multiply-add changes the last bit of most values, and with it the map.

    Args:
        dn: (..., T, C, H, W), as stored.
        valid: (..., T, H, W) bool.
        scale, offset: (T, C) float32; reflectance is ``dn * scale + offset``.
        mean, std: (C,) float32, reflectance.

    Returns:
        (..., T, C, H, W) float32; 0, the mean, where a pixel is not valid.
    """
    scale, offset = scale[..., None, None], offset[..., None, None]
    mean, std = mean[:, None, None], std[:, None, None]
    values = (dn.float() * scale + offset - mean) / std
    return values.masked_fill(~valid.unsqueeze(-3), 0.0)
