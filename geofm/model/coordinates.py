"""When and where an image was taken, as codes that an encoder adds to its tokens.

As in Prithvi-EO-2.0's TL models: each pair of numbers becomes sines and
cosines, weighted by one learned scale.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.patches import Grid, take_tokens

CoordinateKind = Literal["time", "location"]


class Coordinates(NamedTuple):
    """When and where the images of a batch were taken; what is None or NaN is left out.

    Attributes:
        when: (B, T, 2) float; year, and day of the year from 0.
        where: (B, 2) float; latitude and longitude, degrees, in this order.
    """

    when: Tensor | None = None
    where: Tensor | None = None


class CoordinateCode(nn.Module):
    """Pairs of numbers to codes of ``embed_dim`` channels, a half for each number."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        # Small at first, so that codes do not drown the image.
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, pairs: Tensor) -> Tensor:
        """(..., 2) to (..., embed_dim), computed in the dtype of ``pairs``; 0 where one is NaN."""
        unknown = pairs.isnan().any(dim=-1, keepdim=True)
        pairs = pairs.masked_fill(unknown, 0.0)
        first = self.embed_dim // 2
        codes = [_sines(pairs[..., 0], first), _sines(pairs[..., 1], self.embed_dim - first)]
        return (self.scale * torch.cat(codes, dim=-1)).masked_fill(unknown, 0.0)


def add_coordinates(
    tokens: Tensor,
    coordinates: Coordinates | None,
    *,
    time: CoordinateCode | None,
    location: CoordinateCode | None,
    grid: Grid,
    keep: Tensor | None = None,
) -> Tensor:
    """Patch tokens (B, n, D) with their codes added: first the time, then the location.

    Args:
        grid: of all tokens.
        keep: (B, n) places of ``tokens`` among them; None for all.

    Raises:
        ModelError: coordinates for a model that does not read them, or of
            another shape or dtype than it needs.
    """
    if coordinates is None:
        return tokens
    dates, height, width = grid
    if coordinates.when is not None:
        code = _checked(time, "time", coordinates.when, (len(tokens), dates, 2))
        code = code.repeat_interleave(height * width, dim=1)
        tokens = tokens + (code if keep is None else take_tokens(code, keep))
    if coordinates.where is not None:
        code = _checked(location, "location", coordinates.where, (len(tokens), 2))
        tokens = tokens + code.unsqueeze(1)
    return tokens


def _checked(
    code: CoordinateCode | None, what: CoordinateKind, pairs: Tensor, needed: tuple[int, ...]
) -> Tensor:
    if code is None:
        raise ModelError(
            f"this model does not read the {what} of an image; leave it out, or choose a model "
            "that does (Prithvi-EO-2.0's TL models)"
        )
    if pairs.shape != needed or not pairs.is_floating_point():
        raise ModelError(
            f"the {what} of a batch is {pairs.dtype} {list(pairs.shape)}; "
            f"needed floats {list(needed)}"
        )
    encoded: Tensor = code(pairs)
    return encoded


def _sines(numbers: Tensor, width: int) -> Tensor:
    """(...) to (..., width): sines, then cosines, of ever slower waves.

    A year is some 2000 radians, where float32 is 1e-4 coarse: the published
    models learned with these very roundings, so each step stays as it is.
    """
    steps = torch.arange(width // 2, dtype=numbers.dtype, device=numbers.device) / (width / 2)
    angles = numbers.unsqueeze(-1) * (1.0 / 10000.0**steps)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
