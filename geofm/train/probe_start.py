"""A head that begins as the best linear reader of what a frozen encoder sees.

Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution" (arXiv:2202.10054): a head that starts at random bends encoder and
features to the training places while it is still wrong; one that starts as a linear
probe has little left to bend. Ours reads the pixel's own bands too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from geofm.contract import PixelContract
from geofm.model.at_pixels import tokens_at
from geofm.model.heads import FcnHead
from geofm.model.logistic import fit_logistic, token_trusts
from geofm.model.segmenter import Segmenter
from geofm.tasks import IGNORE
from geofm.tiles.area import Area
from geofm.tiles.dataset import Draw, Sample, TileDataset
from geofm.tiles.labelled import DrawnWindows
from geofm.train.inputs import normalise_batch
from geofm.train.labelling import scored_target

MOST_WINDOWS = 192
MOST_PIXELS = 20_000
_APART = 2
"""Windows along the sides of an only area, below which one window sees most of its quarters."""


class _Pixels(NamedTuple):
    """Labelled pixels: tokens around them and their bands (n, D), codes (n,), halves (n,)."""

    features: Tensor
    target: Tensor
    half: Tensor


@torch.no_grad()
def begin_as_probe(
    segmenter: Segmenter,
    contract: PixelContract,
    areas: Sequence[Area],
    samples: TileDataset | DrawnWindows,
    *,
    batch_size: int,
    seed: int,
) -> None:
    """Set a head's linear skip to the best reader of labelled pixels, and all else of it to 0.

    The head's last layer becomes 0, so that its first logits are the reader's alone. How
    strongly the reader is held, and how far it trusts tokens beside bands, is chosen on
    halves of the training areas. Tokens see what lies around a pixel: in one small area the
    halves see each other, and would find tokens to be better than they are. There the reader
    begins with the bands, and training finds what tokens add.

    Args:
        segmenter: with a `FcnHead` that has a skip; on the CPU.
        areas: of the training.
        samples: as the training's; `MOST_WINDOWS` are read, in whole batches.
        batch_size: of the training: features that are kept are kept of whole batches.
    """
    head = segmenter.head
    assert isinstance(head, FcnHead)
    assert head.skip is not None
    segmenter.eval()
    found = _labelled_pixels(segmenter, contract, areas, samples, batch_size=batch_size, seed=seed)
    tokens = head.skip.tokens.in_channels
    trusts = token_trusts(tokens, found.features.shape[1] - tokens)
    if not _apart(areas, segmenter.encoder.config.image_size):
        trusts = trusts[-1:]
    with torch.enable_grad():
        linear, _ = fit_logistic(
            found.features,
            found.target,
            found.half,
            classes=segmenter.head_config.classes,
            trusts=trusts,
        )
    _fill(head.skip.tokens, linear.weight[:tokens])
    _fill(head.skip.bands, linear.weight[tokens:], linear.bias)
    head.logits.weight.zero_()
    assert head.logits.bias is not None
    head.logits.bias.zero_()


def _labelled_pixels(
    segmenter: Segmenter,
    contract: PixelContract,
    areas: Sequence[Area],
    samples: TileDataset | DrawnWindows,
    *,
    batch_size: int,
    seed: int,
) -> _Pixels:
    """Pixels of the first samples, as many from each."""
    # The third word of its seed keeps this draw apart from those of the steps.
    random = np.random.default_rng([seed, 0, 3])
    parts = []
    for first in range(0, MOST_WINDOWS, batch_size):
        numbers = range(first, first + batch_size)
        batch: Sample = default_collate([samples[number] for number in numbers])
        x, target = normalise_batch(batch, contract), scored_target(batch, contract)
        maps = torch.cat(segmenter.encoder.feature_maps(x, segmenter.head_config.depths), dim=1)
        bands = x.flatten(1, 2)
        for at, number in enumerate(numbers):
            labelled = np.argwhere(target[at].numpy() != IGNORE)
            most = MOST_PIXELS // MOST_WINDOWS
            if len(labelled) > most:
                labelled = labelled[random.choice(len(labelled), most, replace=False)]
            row, col = torch.from_numpy(labelled).T
            tokens = tokens_at(maps[at], row, col, shape=(x.shape[-2], x.shape[-1]))
            features = torch.cat([tokens, bands[at][:, row, col].T], dim=1)
            half = torch.full((len(labelled),), _half(areas, samples.draw(number)))
            parts.append(_Pixels(features, target[at][row, col], half))
    return _Pixels(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _apart(areas: Sequence[Area], size: int) -> bool:
    """Whether the halves of `_half` see little of each other."""
    return len(areas) > 1 or min(areas[0].scene.shape) >= _APART * size


def _half(areas: Sequence[Area], draw: Draw) -> bool:
    """Which half a window belongs to: by its area, or by its place in the only one."""
    if len(areas) > 1:
        return draw.area % 2 == 0
    height, width = areas[0].scene.shape
    lower = 2 * draw.window.row + draw.window.height > height
    right = 2 * draw.window.col + draw.window.width > width
    return lower != right


def _fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> None:
    conv.weight.copy_(weight.T[..., None, None])
    if bias is not None:
        assert conv.bias is not None
        conv.bias.copy_(bias)
