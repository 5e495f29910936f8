"""The masked autoencoder: hide most tokens of an image, rebuild them from the rest.

He et al. 2022, https://arxiv.org/abs/2111.06377, over dates as in Prithvi-EO,
whose parameter names it keeps. Validity is part of the loss: a pixel that was
not measured is never rebuilt, whatever number stands in its place.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from geofm.errors import ModelError
from geofm.model.blocks import vit_blocks
from geofm.model.coordinates import CoordinateCode, Coordinates, add_coordinates
from geofm.model.encoder import Encoder, EncoderConfig, init_weights
from geofm.model.patches import (
    Grid,
    Positions,
    draw_code,
    patchify,
    take_tokens,
    unpatchify,
)
from geofm.model.smooth import image_variance, smooth_fill

Target = Literal["pixels", "patches", "departures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeConfig:
    """How an autoencoder hides and rebuilds.

    Attributes:
        mask_ratio: share of tokens hidden.
        decoder_dim: width of a decoder token; a multiple of 16 and of ``decoder_heads``.
        target: ``"pixels"`` as they are; ``"patches"``, each less its mean, over its
            deviation (norm_pix_loss of He et al.); or ``"departures"`` from a smooth fill of
            the visible pixels, where an image counts by the share of its own variance
            that is missed: else a few bright clouds are most of the loss.
        masking: ``"random"`` hides each token by itself, ``"tube"`` the same places
            on all dates, which cannot be copied from another date.

    Raises:
        ModelError: numbers out of range.
    """

    mask_ratio: float = 0.75
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    target: Target = "pixels"
    masking: Literal["random", "tube"] = "random"

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ModelError(f"mask_ratio is {self.mask_ratio}; it can be between 0 and 1")
        if self.decoder_dim % self.decoder_heads:
            raise ModelError(
                f"decoder_dim is {self.decoder_dim}; "
                f"it needs a multiple of decoder_heads, {self.decoder_heads}"
            )


class Hiding(NamedTuple):
    """What of a batch is seen and what is rebuilt.

    Attributes:
        visible: (B, n) int64; the places of the tokens that are seen.
        hidden: (B, N) bool; the tokens that are rebuilt and count in the loss.
        scored: scalar int64; the pixels, of all dates and no band, that count in the loss.
    """

    visible: Tensor
    hidden: Tensor
    scored: Tensor


class MaeOutput(NamedTuple):
    """One step's result.

    Attributes:
        loss: scalar; mean squared error over valid pixels of hidden patches.
        prediction: rebuilt patches, as they are or, of the target ``"patches"``,
            normalised; in the layout of `patchify`: in evaluation of all tokens, (B, N, P);
            in training of those that were not seen, (B, N - n, P), by their places.
        hidden: (B, N) bool; the tokens that were hidden and count in the loss.
    """

    loss: Tensor
    prediction: Tensor
    hidden: Tensor


class Decoder(nn.Module):
    """Visible tokens to pixels of all; used in pretraining only."""

    def __init__(self, encoder: EncoderConfig, config: MaeConfig) -> None:
        super().__init__()
        pixels = encoder.tubelet * encoder.patch_size**2 * encoder.bands
        width, reads = config.decoder_dim, encoder.coordinates
        self.positions = Positions(width, encoder.position_grid)
        self.temporal_embed_dec = CoordinateCode(width) if "time" in reads else None
        self.location_embed_dec = CoordinateCode(width) if "location" in reads else None
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.decoder_dim))
        self.decoder_embed = nn.Linear(encoder.embed_dim, config.decoder_dim)
        self.decoder_blocks = vit_blocks(
            config.decoder_dim,
            depth=config.decoder_depth,
            num_heads=config.decoder_heads,
            mlp_ratio=4.0,
            norm_eps=encoder.norm_eps,
        )
        self.decoder_norm = nn.LayerNorm(config.decoder_dim, eps=encoder.norm_eps)
        self.decoder_pred = nn.Linear(config.decoder_dim, pixels)
        draw_code(self.mask_token)
        self.apply(init_weights)

    def forward(
        self,
        tokens: Tensor,
        visible: Tensor,
        grid: Grid,
        coordinates: Coordinates | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, 1 + n, D) of the places ``visible`` (B, n) to patches.

        Returns:
            All patches (B, N, P), or those at ``keep`` (B, m) alone, (B, m, P).
        """
        tokens = self.decoder_embed(tokens)
        cls, seen = tokens[:, :1], tokens[:, 1:]
        positions = self.positions(grid)
        blank = self.mask_token.to(seen.dtype).expand(len(seen), positions.shape[1], -1)
        index = visible.unsqueeze(-1).expand_as(seen)
        places = add_coordinates(
            blank.scatter(1, index, seen) + positions,
            coordinates,
            time=self.temporal_embed_dec,
            location=self.location_embed_dec,
            grid=grid,
        )
        tokens = torch.cat([cls, places], dim=1)
        if keep is None:
            tokens = self.decoder_blocks(tokens)[:, 1:]
        else:
            tokens = self.decoder_blocks(tokens, keep + 1)  # the class token comes first
        patches: Tensor = self.decoder_pred(self.decoder_norm(tokens))
        return patches


class MaskedAutoencoder(nn.Module):
    """An encoder, with the decoder that teaches it."""

    def __init__(self, encoder: Encoder, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.decoder = Decoder(encoder.config, config)

    def forward(
        self,
        x: Tensor,
        valid: Tensor,
        noise: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        coordinates: Coordinates | None = None,
        generator: Generator | None = None,
        count: Tensor | None = None,
    ) -> MaeOutput:
        """Hide, rebuild, and compare.

        Args:
            x: (B, T, C, H, W), normalised; any number where not valid.
            valid: (B, T, H, W) bool.
            noise, hidden, generator: as in `hide`.
            coordinates: of the images, for encoders that read them.
            count: scalar; the pixels that the loss is a mean of, where this batch is
                a part of a larger one; None for those of this batch.

        Raises:
            ModelError: ``hidden`` hides more tokens in one sample than in another.
        """
        x = x.masked_fill(~valid.unsqueeze(2), 0.0)
        visible, hidden, scored = self.hide(valid, noise, hidden=hidden, generator=generator)
        tokens = self.encoder.forward_visible(x, visible, coordinates)
        # Training reads only what was hidden: nothing else is rebuilt.
        keep = others(visible, hidden.shape[1]) if self.training else None
        grid = self.encoder.token_grid(x)
        prediction = self.decoder(tokens, visible, grid, coordinates, keep)
        target, measured = self._patches(x), self._patches(valid.unsqueeze(2))
        counts = measured & hidden.unsqueeze(-1)
        if keep is not None:
            target, measured, counts = (take_tokens(t, keep) for t in (target, measured, counts))
        weight = None
        match self.config.target:
            case "patches":
                target = normalise_patches(target, measured)
            case "departures":
                base, spread, weight = self._ground(x, valid, visible, grid, keep)
                prediction = base + prediction * spread
        loss = rebuilding_loss(
            prediction, target, counts, scored if count is None else count, weight=weight
        )
        return MaeOutput(loss, prediction, hidden)

    def hide(
        self,
        valid: Tensor,
        noise: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Hiding:
        """Choose what is seen and what is rebuilt, from the validity of the pixels alone.

        Args:
            valid: (B, T, H, W) bool.
            noise: (B, N) from 0 to below 1; the lowest stay visible (of tubes, those on
                the first date). Drawn from ``generator`` where None.
            hidden: (B, N) bool, the tokens to hide, as many in every sample;
                instead of ``noise`` and the config's share.

        Raises:
            ModelError: ``hidden`` hides more tokens in one sample than in another.
        """
        measured = self._patches(valid.unsqueeze(2))
        if hidden is not None:
            visible, hidden = _given(hidden, measured)
        else:
            if noise is None:
                noise = torch.rand(measured.shape[:2], generator=generator, device=valid.device)
            visible, hidden = self.choose(noise, measured)
        return Hiding(visible, hidden, (measured & hidden.unsqueeze(-1)).sum())

    def _ground(
        self, x: Tensor, valid: Tensor, visible: Tensor, grid: Grid, keep: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What departures are from, their unit, and how much they count, as patches.

        Only the last is told of hidden pixels: it changes the loss, never what is rebuilt.
        """
        tokens = torch.zeros(len(x), prod(grid), dtype=torch.bool, device=x.device)
        pixels = self.encoder.config.tubelet * self.encoder.config.patch_size**2
        seen = tokens.scatter(1, visible, True).unsqueeze(-1).expand(-1, -1, pixels)
        known = self._images(seen, grid).squeeze(2) & valid
        spread = image_variance(x, known).sqrt()
        weight = image_variance(x, valid).reciprocal()
        parts = (smooth_fill(x, known), spread.expand_as(x), weight.expand_as(x))
        base, spread, weight = (self._patches(part) for part in parts)
        if keep is None:
            return base, spread, weight
        return take_tokens(base, keep), take_tokens(spread, keep), take_tokens(weight, keep)

    def choose(self, noise: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Which tokens to see and which to rebuild: `choose_visible`, as configured."""
        shape = self.encoder.config
        tubes = shape.dates // shape.tubelet if self.config.masking == "tube" else 1
        return choose_visible(noise, measured, mask_ratio=self.config.mask_ratio, tubes=tubes)

    def _patches(self, x: Tensor) -> Tensor:
        config = self.encoder.config
        return patchify(x, patch_size=config.patch_size, tubelet=config.tubelet)

    def _images(self, patches: Tensor, grid: Grid) -> Tensor:
        config = self.encoder.config
        return unpatchify(patches, grid, patch_size=config.patch_size, tubelet=config.tubelet)


def choose_visible(
    noise: Tensor, measured: Tensor, *, mask_ratio: float, tubes: int = 1
) -> tuple[Tensor, Tensor]:
    """Choose the tokens to see and those to rebuild.

    As many tokens stay visible in every sample. A patch without any valid pixel is
    neither seen nor rebuilt: a sample with too few others has nothing to rebuild, so
    that no weight learns from it.

    Args:
        noise: (B, N), from 0 to below 1.
        measured: (B, N, pixels) bool.
        tubes: dates of the grid of tokens, where a place is seen on all of them or none.

    Returns:
        Places of visible tokens (B, n) int64, and the tokens to rebuild (B, N) bool.
    """
    empty = ~measured.any(dim=-1)
    lacking = empty.reshape(len(empty), tubes, -1).any(dim=1)
    places = lacking.shape[1]
    # Prithvi's rounding: 0.9 of 20 tokens leaves 1, since 1 - 0.9 is a little below 0.1.
    count = int(places * (1 - mask_ratio))
    chosen = torch.argsort(noise[:, :places] + lacking, dim=1, stable=True)[:, :count]
    visible = torch.cat([chosen + date * places for date in range(tubes)], dim=1)
    enough = (~lacking).sum(dim=1, keepdim=True) >= count
    return visible, (~empty & enough).scatter(1, visible, False)


def _given(hidden: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """As `choose_visible`, where the caller has chosen."""
    counts = (~hidden).sum(dim=1)
    if hidden.shape != measured.shape[:2] or (counts != counts[0]).any():
        raise ModelError(
            f"hidden tokens are {list(hidden.shape)} and leave {counts.tolist()} visible; needed "
            f"{list(measured.shape[:2])} with as many visible in every sample"
        )
    visible = torch.argsort(hidden.to(torch.uint8), dim=1, stable=True)[:, : int(counts[0])]
    return visible, hidden & measured.any(dim=-1)


def others(visible: Tensor, tokens: int) -> Tensor:
    """The places (B, N - n), ascending, that are not among ``visible`` (B, n) of N tokens."""
    batch, seen = visible.shape
    taken = torch.zeros(batch, tokens, dtype=torch.uint8, device=visible.device)
    taken = taken.scatter(1, visible, 1)
    return torch.argsort(taken, dim=1, stable=True)[:, : tokens - seen]


def rebuilding_loss(
    prediction: Tensor,
    target: Tensor,
    scored: Tensor,
    count: Tensor | None = None,
    *,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error over scored pixels; 0, with a gradient, where there are none.

    Args:
        prediction, target: (B, N, pixels * C), band fastest.
        scored: (B, N, pixels) bool.
        count: pixels to take the mean over; None for those scored here.
        weight: of each squared error, as the target; None for 1.
    """
    if count is None:
        count = scored.sum()
    error = (prediction.float() - target.float()).square()
    if weight is not None:
        error = error * weight
    error = _by_pixel(error, scored).mean(dim=-1)
    return (error * scored).sum().div(count.clamp(min=1).to(error.dtype))


def normalise_patches(target: Tensor, measured: Tensor) -> Tensor:
    """Each patch (B, N, pixels * C) less the mean of its valid values, over their deviation."""
    mean, deviation = patch_moments(target, measured)
    return (target.float() - mean) / deviation


def patch_moments(target: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, N, 1) of the valid values of each patch, all bands together.

    The deviation is never 0: a patch that is the same everywhere can be divided by it.

    Args:
        target: (B, N, pixels * C), band fastest.
        measured: (B, N, pixels) bool.
    """
    pixels = _by_pixel(target.float(), measured)
    weight = measured.unsqueeze(-1)
    count = weight.sum(dim=(-2, -1), keepdim=True) * pixels.shape[-1]
    mean = (pixels * weight).sum(dim=(-2, -1), keepdim=True) / count.clamp(min=1)
    squares = ((pixels - mean) * weight).square().sum(dim=(-2, -1), keepdim=True)
    variance = squares / (count - 1).clamp(min=1)
    return mean.flatten(-2), (variance + 1e-6).sqrt().flatten(-2)


def _by_pixel(patches: Tensor, measured: Tensor) -> Tensor:
    """(B, N, pixels * C) to (B, N, pixels, C), with the pixels of ``measured``."""
    return patches.reshape(*measured.shape, -1)
