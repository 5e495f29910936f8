"""The encoder: a vision transformer from images of many bands and dates to tokens.

Names and shapes of its parameters are those of Prithvi-EO, whose published
weights load into it unchanged. Read it from the top: cut into patches, add
where each lies, put the class token first, run the blocks, normalise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.blocks import vit_blocks
from geofm.model.coordinates import (
    CoordinateCode,
    CoordinateKind,
    Coordinates,
    add_coordinates,
)
from geofm.model.patches import (
    Grid,
    LearnedPositions,
    Positions,
    draw_code,
    take_tokens,
    token_grid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The shape of an encoder.

    Attributes:
        bands: bands of an input, C.
        dates: dates of an input, T.
        image_size: side of the images it is built for, pixels; others work too.
        patch_size: side of a patch, pixels.
        tubelet: dates in a patch.
        embed_dim: width of a token, D; a multiple of 16 and of ``num_heads``.
        depth: blocks.
        mlp_ratio: width of a block's hidden layer over ``embed_dim``.
        norm_eps: of every LayerNorm; Prithvi's 1e-5, in its oldest code 1e-6.
        coordinates: what it can be told of an image: ``"time"``, ``"location"``.
        position_size: side of the images whose position code is resized to
            ``image_size``, pixels; None computes the code for ``image_size`` itself.
            The two give different features.
        learned_positions: the position code of one date is a weight, and serves
            every date; of other encoders it is a formula.
        legacy_order: read dates and bands as `legacy_order` shuffles them.

    Raises:
        ModelError: numbers that do not fit together, or beyond any model known.
    """

    bands: int
    dates: int = 1
    image_size: int
    patch_size: int
    tubelet: int = 1
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5
    coordinates: tuple[CoordinateKind, ...] = ()
    position_size: int | None = None
    learned_positions: bool = False
    legacy_order: bool = False

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise ModelError(
                    f"encoder: {name} is {getattr(self, name)}; it can be 1 to {most:,}"
                )
        for name, unit in (("embed_dim", "num_heads"), ("image_size", "patch_size")):
            _check_multiple(name, getattr(self, name), unit, getattr(self, unit))
        if self.position_size is not None:
            if not 1 <= self.position_size <= _LIMITS["image_size"]:
                raise ModelError(
                    f"encoder: position_size is {self.position_size}; "
                    f"it can be 1 to {_LIMITS['image_size']:,}"
                )
            _check_multiple("position_size", self.position_size, "patch_size", self.patch_size)
        _check_multiple("embed_dim", self.embed_dim, "the position code", 16)
        _check_multiple("dates", self.dates, "tubelet", self.tubelet)
        if prod(self.grid) * self.embed_dim > _MOST_TOKEN_NUMBERS:
            raise ModelError(
                f"encoder: an input has {prod(self.grid):,} tokens of {self.embed_dim} numbers; "
                f"together it can have {_MOST_TOKEN_NUMBERS:,}; choose a smaller image_size or a "
                "larger patch_size"
            )
        if not 0 < self.norm_eps < 1 or not 0 < self.mlp_ratio <= 16:
            raise ModelError(
                f"encoder: norm_eps is {self.norm_eps} and mlp_ratio {self.mlp_ratio}; "
                "they can be between 0 and 1, and above 0 to 16"
            )
        if "time" in self.coordinates and self.tubelet > 1:
            raise ModelError(
                f"encoder: a token spans {self.tubelet} dates and cannot be told one time; "
                "choose tubelet 1"
            )

    @property
    def grid(self) -> Grid:
        """Tokens along time, rows and columns of an input of ``image_size``."""
        side = self.image_size // self.patch_size
        return self.dates // self.tubelet, side, side

    @property
    def position_grid(self) -> Grid:
        """The grid that the position code is computed for."""
        side = (self.position_size or self.image_size) // self.patch_size
        return self.dates // self.tubelet, side, side


# Well above any model known and far below what exhausts a machine: a damaged
# model.json must not make us reserve terabytes.
_LIMITS = {
    "bands": 1024,
    "dates": 1024,
    "image_size": 8192,
    "patch_size": 512,
    "tubelet": 64,
    "embed_dim": 8192,
    "depth": 256,
    "num_heads": 512,
}
_MOST_TOKEN_NUMBERS = 2**25


def _check_multiple(name: str, value: int, unit: str, step: int) -> None:
    if value % step:
        raise ModelError(f"encoder: {name} is {value}; {unit} needs a multiple of {step}")


class PatchEmbed(nn.Module):
    """Patches to tokens.

    The weights are those of a convolution, as published; the work is one matrix
    product, which is faster and gives every sample the same bits in any batch.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.kernel = (config.tubelet, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(
            config.bands, config.embed_dim, kernel_size=self.kernel, stride=self.kernel
        )

    def unfold(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) to (B, N, C * kernel), tokens by time, row, column."""
        tubelet, side, _ = self.kernel
        t, h, w = token_grid(x, patch_size=side, tubelet=tubelet)
        batch, _, bands, _, _ = x.shape
        x = x.reshape(batch, t, tubelet, bands, h, side, w, side)
        return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, t * h * w, -1)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, n, C * kernel) to (B, n, D)."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Encoder(nn.Module):
    """A vision transformer over (T, C, H, W) tubelets."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        positions = LearnedPositions if config.learned_positions else Positions
        self.positions = positions(config.embed_dim, config.position_grid)
        reads = config.coordinates
        self.temporal_embed_enc = CoordinateCode(config.embed_dim) if "time" in reads else None
        self.location_embed_enc = CoordinateCode(config.embed_dim) if "location" in reads else None
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.embed_dim))
        self.blocks = vit_blocks(
            config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            norm_eps=config.norm_eps,
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        draw_code(self.cls_token)
        self.apply(init_weights)

    def forward(self, x: Tensor, coordinates: Coordinates | None = None) -> Tensor:
        """Images (B, T, C, H, W) to tokens (B, 1 + N, D), normalised, the class token first."""
        return self._run(self._embed(x, coordinates))

    def forward_visible(
        self, x: Tensor, keep: Tensor, coordinates: Coordinates | None = None
    ) -> Tensor:
        """As `forward`, seeing only the tokens ``keep`` (B, n): (B, 1 + n, D)."""
        return self._run(self._embed(x, coordinates, keep))

    def feature_maps(
        self, x: Tensor, depths: Sequence[int], coordinates: Coordinates | None = None
    ) -> list[Tensor]:
        """What chosen blocks see, as maps.

        Args:
            x: (B, T, C, H, W).
            depths: blocks, from 0, ascending. The last block's map is
                normalised, others are raw, as published models were trained.
            coordinates: of the images, for encoders that read them.

        Returns:
            One (B, T' * D, h, w) a depth; channel ``t * D + d``.
        """
        grid = self.token_grid(x)
        return [_as_map(tokens, grid) for tokens in self.feature_tokens(x, depths, coordinates)]

    def feature_tokens(
        self, x: Tensor, depths: Sequence[int], coordinates: Coordinates | None = None
    ) -> list[Tensor]:
        """As `feature_maps`, but tokens: one (B, 1 + N, D) a depth, the class token first."""
        tokens = self._embed(x, coordinates)
        found = []
        for index in range(max(depths) + 1):
            tokens = self.blocks.step(index, tokens)
            if index in depths:
                last = index == len(self.blocks) - 1
                found.append(self.norm(tokens) if last else tokens)
        return found

    def token_grid(self, x: Tensor) -> Grid:
        """Tokens along time, rows and columns of ``x`` (B, T, C, H, W)."""
        config = self.config
        if x.shape[2] != config.bands:
            raise ModelError(
                f"a model input has {x.shape[2]} bands; this encoder needs {config.bands}"
            )
        return token_grid(x, patch_size=config.patch_size, tubelet=config.tubelet)

    def _run(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n, D) through every block and the last norm."""
        normalised: Tensor = self.norm(self.blocks(tokens))
        return normalised

    def _embed(
        self, x: Tensor, coordinates: Coordinates | None, keep: Tensor | None = None
    ) -> Tensor:
        """All tokens of ``x``, or those to ``keep`` alone, before the first block."""
        grid = self.token_grid(x)
        positions = self.positions(grid)
        patches = self.patch_embed.unfold(legacy_order(x) if self.config.legacy_order else x)
        if keep is not None:
            patches, positions = take_tokens(patches, keep), take_tokens(positions, keep)
        tokens = add_coordinates(
            self.patch_embed(patches) + positions,
            coordinates,
            time=self.temporal_embed_enc,
            location=self.location_embed_enc,
            grid=grid,
            keep=keep,
        )
        # The class token lies nowhere and never: its codes are all zeros.
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)


def legacy_order(x: Tensor) -> Tensor:
    """Shuffle dates and bands as the first crop model of Prithvi-EO-1.0 was trained.

    Its pipeline took a stack of bands by date (date slowest) for one of dates by
    band: date t of band c is layer ``c * T + t`` of the stack. Nothing is lost,
    and the weights have learned it.

    Args:
        x: (B, T, C, H, W), in true order.
    """
    batch, dates, bands, height, width = x.shape
    return x.reshape(batch, bands, dates, height, width).transpose(1, 2)


def init_weights(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, for training from scratch."""
    if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
        # A patch convolution is a matrix product: its fan is that of the flat matrix.
        nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
        nn.init.zeros_(module.bias)


def _as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (B, 1 + N, D) to a map (B, T' * D, h, w) without the class token."""
    t, h, w = grid
    x = tokens[:, 1:].reshape(len(tokens), t, h, w, -1)
    return x.permute(0, 1, 4, 2, 3).reshape(len(tokens), -1, h, w)
