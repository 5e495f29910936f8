"""An image to patches and back, and the fixed code that tells patches where they lie.

The layouts and the position code are those of Prithvi-EO, so that its published
weights mean the same here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.errors import ModelError

Grid = tuple[int, int, int]
"""Tokens along time, rows and columns."""


def token_grid(x: Tensor, *, patch_size: int, tubelet: int = 1) -> Grid:
    """Tokens that an input (B, T, C, H, W) is cut into, along time, rows and columns.

    Raises:
        ModelError: a side is no multiple of its patch.
    """
    _, dates, _, height, width = x.shape
    if height % patch_size or width % patch_size or dates % tubelet or 0 in x.shape:
        raise ModelError(
            f"a model input has {dates} dates of {height} x {width} px; this model needs "
            f"multiples of {tubelet} dates and {patch_size} px; pad it"
        )
    return dates // tubelet, height // patch_size, width // patch_size


def patchify(x: Tensor, *, patch_size: int, tubelet: int = 1) -> Tensor:
    """Cut images into the vectors that a masked autoencoder rebuilds.

    Args:
        x: (B, T, C, H, W), any dtype.

    Returns:
        (B, N, tubelet * patch_size**2 * C): tokens by time, row, column; in a
        token by date, row, column, band, the last fastest.
    """
    t, h, w = token_grid(x, patch_size=patch_size, tubelet=tubelet)
    batch, _, bands, _, _ = x.shape
    x = x.reshape(batch, t, tubelet, bands, h, patch_size, w, patch_size)
    return x.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, t * h * w, -1)


def unpatchify(patches: Tensor, grid: Grid, *, patch_size: int, tubelet: int = 1) -> Tensor:
    """Undo `patchify`: (B, N, P) to (B, T, C, H, W)."""
    t, h, w = grid
    x = patches.reshape(len(patches), t, h, w, tubelet, patch_size, patch_size, -1)
    x = x.permute(0, 1, 4, 7, 2, 5, 3, 6)
    return x.reshape(len(patches), t * tubelet, -1, h * patch_size, w * patch_size)


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """The tokens (B, n, D) at ``index`` (B, n) of ``tokens`` (B or 1, N, D)."""
    tokens = tokens.expand(len(index), -1, -1)
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class Positions(nn.Module):
    """The position code of every patch token, for any grid.

    Built for one grid; another is given Prithvi's way: a new number of dates
    by the formula, new rows and columns by bicubic resizing of the code.

    Raises:
        ModelError: ``embed_dim`` is no multiple of 16.
    """

    table: Tensor

    def __init__(self, embed_dim: int, grid: Grid) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.grid = grid
        # Not persistent: the formula is the truth, whatever a weights file says.
        self.register_buffer("table", position_table(embed_dim, grid), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """(1, N, D) for ``grid``."""
        if grid == self.grid:
            return self.table
        (t, h, w), (built_t, built_h, built_w) = grid, self.grid
        table = self.table
        if t != built_t:
            table = position_table(self.embed_dim, (t, built_h, built_w)).to(table)
        return _resized(table, (t, built_h, built_w), (h, w))


def draw_code(code: Tensor) -> None:
    """Small random numbers to begin a learned code with; none on the meta device.

    There torch would load its compiler, for seconds, to draw nothing.
    """
    if not code.is_meta:
        nn.init.normal_(code, std=0.02)


class LearnedPositions(nn.Module):
    """A learned position code of one date, the same for all; other grids as `Positions`."""

    def __init__(self, embed_dim: int, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.empty(1, grid[1] * grid[2], embed_dim))
        draw_code(self.table)

    def forward(self, grid: Grid) -> Tensor:
        """(1, N, D) for ``grid``."""
        t, h, w = grid
        table = _resized(self.table, (1, *self.grid[1:]), (h, w))
        return table.repeat(1, t, 1)


def _resized(table: Tensor, built: Grid, size: tuple[int, int]) -> Tensor:
    """A code (1, N, D) of a grid with other rows and columns."""
    t, h, w = built
    if (h, w) == size:
        return table
    maps = table.reshape(t, h, w, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=size, mode="bicubic", align_corners=True)
    return maps.permute(0, 2, 3, 1).reshape(1, t * size[0] * size[1], -1)


def position_table(embed_dim: int, grid: Grid) -> Tensor:
    """The position code (1, N, D), float32, on the CPU.

    Of 16 parts of the channels the first 6 code the column, 6 the row and 4
    the date, each as sines then cosines; computed in float64, rounded once.

    Raises:
        ModelError: ``embed_dim`` is no multiple of 16.
    """
    if embed_dim % 16:
        raise ModelError(f"embed_dim is {embed_dim}; the position code needs a multiple of 16")
    part = embed_dim // 16
    t, h, w = grid
    code = torch.cat(
        [
            _sines(6 * part, w).expand(t, h, w, -1),
            _sines(6 * part, h)[:, None].expand(t, h, w, -1),
            _sines(4 * part, t)[:, None, None].expand(t, h, w, -1),
        ],
        dim=-1,
    )
    return code.reshape(1, t * h * w, embed_dim)


def _sines(width: int, length: int) -> Tensor:
    """(length, width) float32: sines, then cosines, of ever slower waves."""
    # The CPU is named, so that a model built on the meta device has its table.
    steps = torch.arange(width // 2, dtype=torch.float64, device="cpu")
    waves = 10000.0 ** (-steps / (width // 2))
    places = torch.arange(length, dtype=torch.float64, device="cpu")
    angles = places[:, None] * waves
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
