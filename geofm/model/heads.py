"""Heads: the encoder's feature maps to logits, a class a channel.

``linear`` and ``fcn`` are our own. ``unet``, ``upernet`` and ``deconv`` are those
of published models, each in its file; their BatchNorm is constant once trained.
So whoever maps, a window's logits depend on no neighbour in its batch.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.deconv import DeconvHead
from geofm.model.encoder import EncoderConfig
from geofm.model.unet import UnetHead
from geofm.model.upernet import UpernetHead
from geofm.tasks import MAX_CLASSES

HeadKind = Literal["linear", "fcn", "unet", "upernet", "deconv"]

# Maps that a head reads, where it reads a certain number.
_MAPS = {"unet": 4, "upernet": 4, "deconv": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """The shape of a head.

    Attributes:
        kind: ``"linear"``, one matrix a token; ``"fcn"``, a few convolutions;
            ``"unet"``, ``"upernet"``; ``"deconv"``, that of Prithvi-EO-1.0's models.
        classes: K.
        depths: encoder blocks whose maps it reads, from 0, ascending; four for
            ``unet`` and ``upernet``, one for ``deconv``.
        channels: width of ``fcn`` on the token grid, of ``unet`` at its finest,
            of ``upernet`` and ``deconv`` throughout.
        upsample_last: of ``unet``; see `geofm.model.unet.UnetHead`.
        skip: of ``fcn``: a linear view of each pixel is added to its logits; see `LinearSkip`.

    Raises:
        ModelError: numbers out of range.
    """

    kind: HeadKind = "fcn"
    classes: int
    depths: tuple[int, ...]
    channels: int = 64
    upsample_last: bool = True
    skip: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= MAX_CLASSES:
            raise ModelError(f"head: {self.classes} classes; a map holds 2 to {MAX_CLASSES}")
        if not self.depths or list(self.depths) != sorted({d for d in self.depths if d >= 0}):
            raise ModelError(
                f"head: depths are {self.depths}; name at least one block, from 0, ascending"
            )
        if len(self.depths) != _MAPS.get(self.kind, len(self.depths)):
            raise ModelError(
                f"head: {self.kind} reads {_MAPS[self.kind]} blocks, not {len(self.depths)}; "
                f"depths are {self.depths}; name {_MAPS[self.kind]}"
            )
        if self.skip and self.kind != "fcn":
            raise ModelError(f"head: {self.kind} has no skip; choose fcn, or leave skip out")
        if not 1 <= self.channels <= 4096:
            raise ModelError(f"head: channels is {self.channels}; it can be 1 to 4096")


def default_depths(kind: HeadKind, depth: int) -> tuple[int, ...]:
    """The blocks that a head reads unless told: the last, or the ends of four quarters.

    >>> default_depths("fcn", 12), default_depths("unet", 24)
    ((11,), (5, 11, 17, 23))
    """
    parts = _MAPS.get(kind, 1)
    return tuple((part + 1) * depth // parts - 1 for part in range(parts))


def build_head(config: HeadConfig, encoder: EncoderConfig) -> nn.Module:
    """The head of this kind, for this encoder; called with feature maps and their input.

    Raises:
        ModelError: it reads a block that the encoder lacks, or its kind is unknown.
    """
    if config.depths[-1] >= encoder.depth:
        raise ModelError(
            f"head reads block {config.depths[-1]}; the encoder has blocks 0 to "
            f"{encoder.depth - 1}; choose depths among them"
        )
    match config.kind:
        case "linear":
            return LinearHead(config, encoder)
        case "fcn":
            return FcnHead(config, encoder)
        case "unet":
            return UnetHead(
                encoder.grid[0] * encoder.embed_dim,
                channels=config.channels,
                classes=config.classes,
                upsample_last=config.upsample_last,
            )
        case "upernet":
            return UpernetHead(
                encoder.grid[0] * encoder.embed_dim,
                channels=config.channels,
                classes=config.classes,
            )
        case "deconv":
            return DeconvHead(
                encoder.grid[0],
                encoder.embed_dim,
                channels=config.channels,
                classes=config.classes,
            )
        case _:
            raise ModelError(
                f"unknown head {config.kind!r}; known: linear, fcn, unet, upernet, deconv"
            )


class LinearHead(nn.Module):
    """Each token to the logits of its own pixels: the plainest probe of an encoder."""

    def __init__(self, config: HeadConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.patch_size = encoder.patch_size
        self.logits = nn.Conv2d(
            _feature_width(config, encoder), config.classes * encoder.patch_size**2, 1
        )

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:  # noqa: ARG002
        """Maps (B, ., h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        return F.pixel_shuffle(self.logits(torch.cat(features, dim=1)), self.patch_size)


class FcnHead(nn.Module):
    """Convolutions on the token grid, then a sharp step to pixels.

    A token knows what lies in its patch but only roughly where; the image knows
    where the edges are. So each token hands a few channels to every cell of
    2 x 2 pixels in its patch, a shallow stem adds what the image shows there,
    and each cell gives the logits of its four pixels. All wide work stays on
    the token grid, and no step runs at full resolution, where a CPU spends its
    time on memory.
    """

    def __init__(self, config: HeadConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        # 16 is the least that tells the four pixels of a cell apart.
        width, fine = config.channels, max(16, config.channels // 4)
        # An odd patch has no cells of two pixels; its cells are pixels.
        self.cell = 2 if encoder.patch_size % 2 == 0 else 1
        self.cells = encoder.patch_size // self.cell
        self.reduce = nn.Conv2d(_feature_width(config, encoder), width, 1)
        self.norm = nn.LayerNorm(width)
        self.context = nn.Conv2d(width, width, 3, padding=1)
        self.to_cells = nn.Conv2d(width, fine * self.cells**2, 1)
        self.stem = nn.Conv2d(
            encoder.dates * encoder.bands, fine, self.cell + 2, stride=self.cell, padding=1
        )
        self.join = nn.Conv2d(fine, fine, 3, padding=1)
        self.logits = nn.Conv2d(fine, config.classes * self.cell**2, 1)
        _start_smooth(self.to_cells, self.cells**2)
        self.skip = LinearSkip(config, encoder) if config.skip else None

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:
        """Maps (B, ., h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        coarse = self.reduce(torch.cat(features, dim=1))
        # Over channels, token by token: nothing is shared across the window.
        coarse = self.norm(coarse.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        coarse = F.gelu(coarse)
        coarse = coarse + F.gelu(self.context(coarse))
        fine = F.pixel_shuffle(self.to_cells(coarse), self.cells) + self.stem(x.flatten(1, 2))
        fine = F.relu(self.join(F.relu(fine)))
        logits: Tensor = F.pixel_shuffle(self.logits(fine), self.cell)
        return logits if self.skip is None else logits + self.skip(features, x)


class LinearSkip(nn.Module):
    """What a linear reader sees of a pixel: its own bands, and the tokens around it.

    Few labels teach it well, and it travels to other places better than what is bent
    to the training places; so a head may begin as it and learn only what it lacks.
    """

    def __init__(self, config: HeadConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.bands = nn.Conv2d(encoder.dates * encoder.bands, config.classes, 1)
        self.tokens = nn.Conv2d(_feature_width(config, encoder), config.classes, 1, bias=False)

    def forward(self, features: list[Tensor], x: Tensor) -> Tensor:
        """Maps (B, ., h, w) of an input (B, T, C, H, W) to logits (B, K, H, W)."""
        # Linear steps commute: the logits of tokens are resized, not their many features.
        coarse = self.tokens(torch.cat(features, dim=1))
        around = F.interpolate(coarse, size=x.shape[-2:], mode="bilinear")
        logits: Tensor = self.bands(x.flatten(1, 2)) + around
        return logits


def _feature_width(config: HeadConfig, encoder: EncoderConfig) -> int:
    """Channels of all maps that the head reads."""
    return len(config.depths) * encoder.grid[0] * encoder.embed_dim


def _start_smooth(conv: nn.Conv2d, cells: int) -> None:
    """Start with one value for all cells of a patch: no chequerboard (arXiv:1707.02937)."""
    if conv.weight.is_meta:  # the weights come later
        return
    first = conv.weight.detach()[::cells].clone()
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(first.repeat_interleave(cells, dim=0))
        conv.bias.zero_()
