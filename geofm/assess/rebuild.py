"""How well an autoencoder rebuilds scenes it never saw, against filling without learning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import default_collate

from geofm.assess.fill import bilinear_fill, mean_fill
from geofm.contract import PixelContract
from geofm.errors import SceneError
from geofm.model.coordinates import Coordinates
from geofm.model.mae import MaskedAutoencoder, patch_moments
from geofm.model.metrics import MIN_BLOCKS, ROUNDS, Interval, interval_of
from geofm.model.patches import patchify, unpatchify
from geofm.model.smooth import image_variance, smooth_fill
from geofm.tiles.dataset import Sample, TileDataset
from geofm.train.inputs import coordinates_of, normalise_batch
from geofm.train.pretrain import hiding_noise

Floats = npt.NDArray[np.float64]


class Rebuilt(NamedTuple):
    """Images with some tokens hidden, and what the autoencoder put there.

    Attributes:
        image: (B, T, C, H, W), normalised; 0 where not valid.
        valid: (B, T, H, W) bool.
        hidden: (B, T, H, W) bool; the pixels of hidden tokens.
        prediction: (B, T, C, H, W), normalised, for every token. An autoencoder of
            normalised patches rebuilds shapes alone; here they have the true mean and
            deviation of each patch, as in the pictures of He et al.
    """

    image: Tensor
    valid: Tensor
    hidden: Tensor
    prediction: Tensor

    @property
    def known(self) -> Tensor:
        """(B, T, H, W) bool; what the encoder saw."""
        return self.valid & ~self.hidden

    @property
    def scored(self) -> Tensor:
        """(B, T, H, W) bool; what it had to rebuild."""
        return self.valid & self.hidden


@torch.no_grad()
def rebuild(
    mae: MaskedAutoencoder,
    image: Tensor,
    valid: Tensor,
    *,
    noise: Tensor | None = None,
    hidden: Tensor | None = None,
    coordinates: Coordinates | None = None,
) -> Rebuilt:
    """Hide a part of images and let the autoencoder rebuild it.

    Args:
        image: (B, T, C, H, W), normalised.
        valid: (B, T, H, W) bool.
        noise, hidden, coordinates: as `MaskedAutoencoder.forward`.
    """
    image = image.masked_fill(~valid.unsqueeze(2), 0.0)
    was_training = mae.training
    output = mae.eval()(image, valid, noise, hidden=hidden, coordinates=coordinates)
    mae.train(was_training)
    config, grid = mae.encoder.config, mae.encoder.token_grid(image)

    def cut(x: Tensor) -> Tensor:
        return patchify(x, patch_size=config.patch_size, tubelet=config.tubelet)

    def join(patches: Tensor) -> Tensor:
        return unpatchify(patches, grid, patch_size=config.patch_size, tubelet=config.tubelet)

    measured = cut(valid.unsqueeze(2))
    prediction = output.prediction.float()
    if mae.config.target == "patches":
        mean, deviation = patch_moments(cut(image), measured)
        prediction = prediction * deviation + mean
    places = output.hidden.unsqueeze(-1).expand_as(measured)
    return Rebuilt(image, valid, join(places).squeeze(2), join(prediction))


def rebuild_samples(
    mae: MaskedAutoencoder,
    dataset: TileDataset,
    contract: PixelContract,
    *,
    indexes: Sequence[int],
    seed: int = 0,
) -> Rebuilt:
    """Rebuild samples of a dataset as training meets them, told their coordinates.

    Args:
        contract: whose statistics normalise, as in training.
        indexes: of the samples.
        seed: of what is hidden, which follows from it and from the index alone.
    """
    device = next(mae.parameters()).device
    batch: Sample = default_collate([dataset[i] for i in indexes])
    batch = Sample(*(part.to(device) for part in batch))
    image = normalise_batch(batch, contract)
    tokens = prod(mae.encoder.token_grid(image))
    noise = hiding_noise(batch.number.cpu(), tokens=tokens, seed=seed).to(device)
    told = coordinates_of(batch, mae.encoder.config.coordinates)
    return rebuild(mae, image, batch.valid, noise=noise, coordinates=told)


@dataclass(frozen=True, slots=True)
class Fill:
    """What filling without learning reaches on the same hidden places.

    Attributes:
        name: such as ``"mean of the visible"``.
        error: mean squared error.
        interval: 95 % of it; None with too few groups.
        gain: the share of this error that the autoencoder takes away; below 0, it adds.
        gain_interval: 95 % of it, on the same draws of groups for both.
    """

    name: str
    error: float
    interval: Interval | None
    gain: float
    gain_interval: Interval | None


@dataclass(frozen=True, slots=True)
class RebuildScore:
    """How well an autoencoder rebuilds; prints as a page.

    Attributes:
        error: mean squared error over hidden valid pixels and all bands, in the units of
            the training: of ``"departures"``, each image's own variance by band and date;
            of ``"pixels"``, the training pixels' variance; of ``"patches"``, each patch's.
        interval: 95 % of it; None with too few groups.
        fills: what needs no learning, on the same places.
        samples: images with a hidden valid pixel.
        pixels: hidden valid pixels, all dates.
        groups: what intervals draw anew.
        note: one sentence on what the intervals rest on, or why there are none.
    """

    error: float
    interval: Interval | None
    fills: tuple[Fill, ...]
    samples: int
    pixels: int
    groups: int
    note: str

    def __str__(self) -> str:
        lines = [f"{'rebuilt':<26}{_text(self.error, self.interval)}"]
        lines += [
            f"{fill.name:<26}{_text(fill.error, fill.interval)}  "
            f"the encoder takes away {_text(fill.gain, fill.gain_interval)} of it"
            for fill in self.fills
        ]
        return "\n".join([*lines, f"mean squared error on {self.samples} images; {self.note}"])


def rebuild_score(
    mae: MaskedAutoencoder,
    dataset: TileDataset,
    contract: PixelContract,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> RebuildScore:
    """Score an autoencoder on every sample of a dataset of areas it never saw.

    All see the same visible valid pixels and are scored on the same hidden valid ones:
    the autoencoder, the mean of the visible (by image, band and date), and a bilinear
    fill; of ``"departures"`` also the fill that they are from, which a network that has
    learnt nothing comes to; with several dates also one that looks through time.

    Args:
        dataset: of areas that no training read; its bands are the contract's.
        contract: whose statistics normalise, as in training.
        groups: of each area, what errs together, such as the name of its place; each
            area by itself where None. Intervals draw whole groups anew.
        seed: of what is hidden.
        progress: is told the share done, 0 to 1.

    Raises:
        SceneError: no hidden pixel is valid.
    """
    names = list(groups or map(str, range(len(dataset.areas))))
    errors, counts = [], []
    fills: dict[str, Tensor] = {}
    for first in range(0, len(dataset), batch_size):
        indexes = range(first, min(first + batch_size, len(dataset)))
        rebuilt = rebuild_samples(mae, dataset, contract, indexes=indexes, seed=seed)
        fills = _fills(mae, rebuilt)
        found = [rebuilt.prediction, *fills.values()]
        errors.append(np.stack([_errors(mae, rebuilt, candidate) for candidate in found]))
        counts.append(rebuilt.scored.sum(dim=(1, 2, 3)).cpu().numpy())
        if progress:
            progress(indexes.stop / len(dataset))
    # By group: sums of squared errors (groups, candidates) and pixels (groups,).
    error, count = np.concatenate(errors, axis=1).T, np.concatenate(counts).astype(np.float64)
    which = [names[dataset.draw(i).area] for i in range(len(dataset))]
    _, group = np.unique(which, return_inverse=True)
    sums = np.stack([np.bincount(group, column) for column in error.T], axis=1, dtype=np.float64)
    pixels = np.bincount(group, count).astype(np.float64)
    return _score(sums[pixels > 0], pixels[pixels > 0], fills=list(fills), samples=count)


def _fills(mae: MaskedAutoencoder, rebuilt: Rebuilt) -> dict[str, Tensor]:
    """What each fill puts in hidden places, by its name."""
    image, known = rebuilt.image, rebuilt.known
    found = {
        "mean of the visible": mean_fill(image, known),
        "bilinear fill": bilinear_fill(image, known),
    }
    if mae.config.target == "departures":
        found["the fill it departs from"] = smooth_fill(image, known)
    if image.shape[1] > 1:
        found["fill through time"] = bilinear_fill(image, known, through_time=True)
    return found


def _errors(mae: MaskedAutoencoder, rebuilt: Rebuilt, candidate: Tensor) -> Floats:
    """Squared errors (B,) float64, the mean over bands summed over scored pixels."""
    error = candidate - rebuilt.image
    if mae.config.target == "departures":
        error = error * image_variance(rebuilt.image, rebuilt.valid).rsqrt()
    if mae.config.target == "patches":
        config = mae.encoder.config
        size, tubelet = config.patch_size, config.tubelet
        measured = patchify(rebuilt.valid.unsqueeze(2), patch_size=size, tubelet=tubelet)
        cut = patchify(error, patch_size=size, tubelet=tubelet)
        if candidate is not rebuilt.prediction:
            # Only shapes are asked for: a fill is given each patch's true mean.
            cut = cut - patch_moments(cut, measured)[0]
        target = patchify(rebuilt.image, patch_size=size, tubelet=tubelet)
        cut = cut / patch_moments(target, measured)[1]
        grid = mae.encoder.token_grid(rebuilt.image)
        error = unpatchify(cut, grid, patch_size=size, tubelet=tubelet)
    squares = error.double().square().mean(dim=2) * rebuilt.scored
    summed: Floats = squares.sum(dim=(1, 2, 3)).cpu().numpy()
    return summed


def _score(sums: Floats, pixels: Floats, *, fills: Sequence[str], samples: Floats) -> RebuildScore:
    """Scores from sums of squared errors (groups, 1 + fills) and pixels (groups,)."""
    groups = len(pixels)
    if not groups:
        raise SceneError(
            "no hidden pixel of these scenes is valid, so nothing can be scored; "
            "give scenes with more valid pixels"
        )
    found = sums.sum(axis=0) / pixels.sum()
    draws = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), ROUNDS)
    drawn = draws @ sums / (draws @ pixels)[:, None]
    enough = groups >= MIN_BLOCKS

    def interval(values: Floats) -> Interval | None:
        return interval_of(values, blocks=groups) if enough else None

    return RebuildScore(
        error=float(found[0]),
        interval=interval(drawn[:, 0]),
        fills=tuple(
            Fill(
                name=name,
                error=float(found[at]),
                interval=interval(drawn[:, at]),
                gain=float(1 - found[0] / found[at]),
                gain_interval=interval(1 - drawn[:, 0] / drawn[:, at]),
            )
            for at, name in enumerate(fills, start=1)
        ),
        samples=int((samples > 0).sum()),
        pixels=int(pixels.sum()),
        groups=groups,
        note=f"95 % intervals by drawing {groups} groups anew"
        if enough
        else f"no interval: {groups} groups, and fewer than {MIN_BLOCKS} say too little about "
        "the spread",
    )


def _text(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
