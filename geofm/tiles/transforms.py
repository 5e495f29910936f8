"""Stored numbers to what a model sees; flips and turns that follow from a seed."""

from typing import Any

import numpy as np
import numpy.typing as npt
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


TURNS = 8
"""Flips and quarter turns of a square: the dihedral group of order 8."""


def turn(image: Tensor, code: int) -> Tensor:
    """Flip (codes 4 to 7) and turn by ``code % 4`` quarters, over the last two axes.

    Args:
        image: (..., H, W), square for quarter turns to keep its shape.
        code: 0 to 7; 0 changes nothing.
    """
    assert 0 <= code < TURNS
    if code >= 4:
        image = image.flip(-1)
    return image.rot90(code % 4, (-2, -1))


def unturned(image: npt.NDArray[Any], code: int) -> npt.NDArray[Any]:
    """A view (..., H, W) of an image that is to hold a turned one: write it as it was before.

    >>> image = np.zeros((2, 2), int)
    >>> unturned(image, 4)[...] = [[1, 2], [3, 4]]
    >>> image.tolist()
    [[2, 1], [4, 3]]
    """
    assert 0 <= code < TURNS
    view = np.rot90(image, -(code % 4), (-2, -1))
    return view[..., ::-1] if code >= 4 else view
