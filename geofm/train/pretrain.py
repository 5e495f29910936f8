"""Pretraining by masked autoencoding: scenes without labels in, an encoder out."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geofm.contract import PixelContract
from geofm.errors import ConfigError, ModelError, SceneError, UnitsError
from geofm.model.coordinates import Coordinates
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder, load_encoder_folder
from geofm.model.mae import Decoder, MaeConfig, MaskedAutoencoder, Target
from geofm.model.prithvi import Adaptation, load_prithvi, load_prithvi_mae
from geofm.page import counted
from geofm.scenes.match import masked_as
from geofm.scenes.reader import Scene
from geofm.scenes.skipped import Skipped, check_skipped
from geofm.scenes.window import Window
from geofm.shipped import encoder_folder
from geofm.tiles.area import Area, areas_of, footprint
from geofm.tiles.dataset import Sample, Spot, TileDataset, valid_spots
from geofm.tiles.statistics import BandStatistics, measure_statistics
from geofm.train.config import EncoderShape, PretrainConfig
from geofm.train.inputs import check_together, contract_of, coordinates_of, normalise_batch
from geofm.train.loop import Progress, Watch, fit, part_of
from geofm.train.machine import check_devices, first_alone, launch
from geofm.train.optim import Rate
from geofm.train.run_folder import Run

Bools = npt.NDArray[np.bool_]


def pretrain_encoder(
    scenes: Sequence[Scene],
    config: PretrainConfig | None = None,
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    encoder: PretrainedEncoder | None = None,
    decoder: Decoder | None = None,
    name: str = "encoder",
    licences: Sequence[str] = (),
    skipped: Sequence[Skipped] = (),
    run: Run | None = None,
    watch: Callable[[int, MaskedAutoencoder, TileDataset, PixelContract], object] | None = None,
    watch_every: int = 0,
    progress: Progress | None = None,
) -> PretrainedEncoder:
    """Pretrain an encoder by masked autoencoding (He et al. 2022, arXiv:2111.06377).

    The encoder sees valid patches alone, and the loss counts valid pixels alone. Scenes
    that cannot be read or hold nothing to learn from are left out by name. On one
    machine, the same scenes, config and threads give the same weights.

    Args:
        scenes: with the same bands and level; `Scene.select` chooses bands.
        windows: for each scene, the windows that may be read, for statistics
            and for training; None for all of every scene.
        encoder: to go on from: its bands, dates and statistics stay.
        decoder: that rebuilt with ``encoder``; None begins a new one.
        name: of the encoder.
        licences: of the pixels, for the model card.
        skipped: scenes that were left out before, for the model card.
        run: where checkpoints and curves go; None keeps nothing.
        watch: is told the step, from 1, the autoencoder as it would come back then, its
            samples, and what they are in.
        watch_every: steps between looks; 0 for a tenth of all.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SceneError, BandError, UnitsError, GridError: the scenes do not go together, or
            too many cannot be used.
        ModelError, ConfigError: the config does not fit, or training diverged.
        OutputError: the run's folder holds another training.
        Stopped: SIGTERM came; ``run.resume`` goes on.
    """
    config = config or PretrainConfig()
    check_devices(config)
    if not scenes:
        raise SceneError("no scene to train on; give one or more")
    if encoder is not None:
        config = replace(config, encoder=_shape_to_go_on(config.encoder, encoder))
    dates = _dates_of_a_sample(config, encoder)
    read = [_as_read(scene, config, encoder) for scene in scenes]
    areas, few = _long_enough(areas_of(read, windows), dates)
    every = len(scenes) + len(skipped)
    check_skipped([*skipped, *few], every, most=config.most_skipped)
    check_together(
        [area.scene for area in areas], dates=dates, any_resolution=config.any_resolution
    )
    first = areas[0].scene
    dates = dates or len(first.dates)
    mae = new_autoencoder(
        config, bands=len(first.bands), dates=dates, encoder=encoder, decoder=decoder
    )
    if encoder is None:
        _check_coordinates(config.encoder, [area.scene for area in areas])
    fabric = launch(config)  # before scenes are measured, which the first process does for all
    size, sieve = mae.encoder.config.image_size, Sieve.of(mae)
    tell = part_of(progress, 0.0, 0.1)

    def measured() -> tuple[BandStatistics, _Usable]:
        statistics = measure_statistics(
            areas, skip_unreadable=True, progress=lambda done: tell(done, "band statistics")
        )
        found = _usable(areas, statistics, size=size, dates=dates, sieve=sieve)
        unusable = [*skipped, *few, *found.unreadable]
        check_skipped(unusable, every, most=config.most_skipped)
        return statistics, found

    statistics, found = first_alone(fabric, measured)
    contract = contract_of(areas, statistics, dates=dates, any_resolution=config.any_resolution)
    contract = replace(contract, masked_qa=config.masked_qa)
    if encoder is not None:
        contract = replace(contract, mean=encoder.contract.mean, std=encoder.contract.std)
    left_out = [*skipped, *few, *found.unreadable, *found.empty]
    dataset = TileDataset(
        areas,
        found.spots,
        size=size,
        length=config.steps * config.batch_size,
        seed=config.seed,
        dates=contract.dates,
        light=config.light,
        tint=config.tint,
        enough=sieve,
    )
    first_alone(fabric, lambda: _check_samples(dataset))
    told = f", {counted(len(left_out), 'scene')} left out" if left_out else ""
    encoder_rate = config.learning_rate * (config.encoder_rate if encoder else 1.0)
    decoder_rate = config.learning_rate * (config.encoder_rate if decoder else 1.0)
    fitted = fit(
        mae,
        Rebuilding(mae, contract, seed=config.seed, dropout=config.coordinate_dropout),
        dataset,
        config=config,
        rates=[Rate(mae.encoder, encoder_rate), Rate(mae.decoder, decoder_rate)],
        watch=watch
        and Watch(
            look=lambda step: watch(step, mae, dataset, contract),
            every=watch_every or max(config.steps // 10, 1),
        ),
        run=run,
        inputs={
            # The statistics tell other pixels under the same names.
            "scenes": [area.scene.id for area in areas],
            "contract": asdict(contract),
            "encoder": encoder and (encoder.sha256 or encoder.name),
        },
        fabric=fabric,
        what=f"masked autoencoding{told}",
        progress=part_of(progress, 0.1, 1.0),
    )
    left_out += [
        Skipped(scene, f"in part, while training: {reason}")
        for scene, reason in sorted(dataset.unreadable.items())
    ]
    used = sorted({spot.area for spot in found.spots})
    provenance = {
        "training_footprint": footprint([areas[at] for at in used]),
        "sources": sorted({areas[at].scene.id for at in used}),
        "licences": sorted({*licences, *(encoder.provenance["licences"] if encoder else ())}),
        "method": "masked autoencoding",
        "scenes": {
            "used": len(used),
            "left_out": len(left_out),
            # Pairs: scenes of two folders may have one name.
            "why": [[one.name, one.reason] for one in left_out[:_MOST_NAMED]],
            "valid_share": round(sum(map(statistics.found, used)) / max(statistics.pixels, 1), 4),
            "resolutions": _resolutions([areas[at].scene for at in used]),
        },
        "config": asdict(config),
        "loss": fitted.loss,
        "losses": _curve(fitted.losses),
        "seconds": fitted.seconds,
    }
    if encoder is not None:
        provenance["encoder"] = {
            "name": encoder.name,
            "sha256": encoder.sha256,
            **encoder.provenance,
        }
    return PretrainedEncoder(
        encoder=mae.encoder, contract=contract, name=name, provenance=provenance
    )


_MOST_NAMED = 1000
"""Scenes left out that a folder names; it counts them all."""


class Start(NamedTuple):
    """What training goes on from; a new encoder or decoder where it is None."""

    encoder: PretrainedEncoder | None = None
    decoder: Decoder | None = None


def start_from(source: PretrainedEncoder | str | Path | None, *, dates: int) -> Start:
    """Load what training goes on from: an encoder folder, or published weights.

    Args:
        dates: of a sample; a folder stays as it was trained. The decoder of published
            weights goes on too, where their file holds it.

    Raises:
        ModelError: it cannot be loaded.
    """
    if source is None or isinstance(source, PretrainedEncoder):
        return Start(source)
    folder = encoder_folder(source)
    if folder is not None:
        return Start(load_encoder_folder(folder))
    adapt = Adaptation(dates=dates)
    encoder = load_prithvi(source, adapt=adapt)
    try:
        return Start(encoder, load_prithvi_mae(source, adapt=adapt).decoder)
    except ModelError:  # the file holds the encoder alone, or the decoder of another
        return Start(encoder)


def _dates_of_a_sample(config: PretrainConfig, encoder: PretrainedEncoder | None) -> int:
    """Dates of a sample; 0 for as many as the scenes have."""
    if encoder is None:
        return config.dates
    if config.dates not in (0, encoder.contract.dates):
        raise ConfigError(
            f"dates is {config.dates}; {encoder.name} reads {encoder.contract.dates}; leave it "
            "out, or load the encoder for as many (dates=)"
        )
    return encoder.contract.dates


def _as_read(scene: Scene, config: PretrainConfig, encoder: PretrainedEncoder | None) -> Scene:
    """The scene with clouds set aside, and with the bands of an encoder.

    Raises:
        BandError, UnitsError: it does not fit the encoder.
    """
    scene = masked_as(config.masked_qa, scene)
    if encoder is None:
        return scene
    if scene.level not in ("unknown", encoder.contract.level):
        raise UnitsError(
            f"{scene.id} is {scene.level}, {encoder.name} was trained on "
            f"{encoder.contract.level}; give scenes of that level"
        )
    return scene.select(bands=encoder.contract.bands)


def _long_enough(areas: Sequence[Area], dates: int) -> tuple[list[Area], list[Skipped]]:
    """The areas with as many dates as a sample, and the others."""
    few = [area for area in areas if len(area.scene.dates) < dates]
    reasons = [
        Skipped(area.scene.id, f"{len(area.scene.dates)} of {dates} dates that a sample has")
        for area in few
    ]
    return [area for area in areas if area not in few], reasons


def _shape_to_go_on(said: EncoderShape, encoder: PretrainedEncoder) -> EncoderShape:
    """The shape of the encoder that training goes on from.

    Raises:
        ConfigError: another was asked for.
    """
    own, usual = encoder.encoder.config, EncoderShape()
    shape = EncoderShape(**{entry.name: getattr(own, entry.name) for entry in fields(EncoderShape)})
    for entry in fields(EncoderShape):
        asked, found = getattr(said, entry.name), getattr(shape, entry.name)
        if asked not in (found, getattr(usual, entry.name)):
            raise ConfigError(
                f"{entry.name} is {asked}; {encoder.name}, which training goes on from, has "
                f"{found or 'none'}; leave it out, or begin a new encoder"
            )
    return shape


def _check_coordinates(shape: EncoderShape, scenes: Sequence[Scene]) -> None:
    """Some scene tells what the encoder is to be told.

    Raises:
        ConfigError: none does.
    """
    told = {
        "time": any(day is not None for scene in scenes for day in scene.dates),
        "location": any(scene.geobox.crs is not None for scene in scenes),
    }
    for name in shape.coordinates:
        if not told[name]:
            lacks = "a date" if name == "time" else "a CRS"
            raise ConfigError(
                f"coordinates hold {name}, and none of {len(scenes)} scenes has {lacks}; leave "
                "it out, or give scenes that tell it"
            )


def new_autoencoder(
    config: PretrainConfig,
    *,
    bands: int,
    dates: int,
    encoder: PretrainedEncoder | None = None,
    decoder: Decoder | None = None,
) -> MaskedAutoencoder:
    """An autoencoder to train: of new weights by the config's seed, or of copies of those given.

    Raises:
        ModelError, ConfigError: its parts do not fit.
    """
    usual: Target = "departures" if decoder is None else "pixels"
    settings = MaeConfig(
        mask_ratio=config.mask_ratio,
        decoder_dim=config.decoder_dim,
        decoder_depth=config.decoder_depth,
        decoder_heads=config.decoder_heads,
        target=usual if config.target == "auto" else config.target,
        masking=config.masking,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if encoder is None:
            shape = encoder_config(config.encoder, bands=bands, dates=dates)
            backbone = Encoder(shape)
        else:
            backbone = deepcopy(encoder.encoder)
        mae = MaskedAutoencoder(backbone, settings)
    if decoder is not None:
        mae.decoder = deepcopy(decoder)
    if Sieve.of(mae).seen < 1:
        raise ConfigError(
            f"mask_ratio {config.mask_ratio} leaves none of {prod(backbone.config.grid)} patches "
            "to see; lower it, or choose a larger image_size"
        )
    return mae


@dataclass(frozen=True, slots=True)
class Sieve:
    """Whether a sample has enough valid patches, some to see and one to rebuild.

    Attributes:
        cut: dates, rows and columns of a patch, pixels.
        seen: patches that are seen, or places where they are hidden in tubes.
        tubes: a place is seen on all dates, or on none.
    """

    cut: tuple[int, int, int]
    seen: int
    tubes: bool

    @classmethod
    def of(cls, mae: MaskedAutoencoder) -> "Sieve":
        shape, tubes = mae.encoder.config, mae.config.masking == "tube"
        patches = prod(shape.grid[1:] if tubes else shape.grid)
        return cls(
            cut=(shape.tubelet, shape.patch_size, shape.patch_size),
            seen=int(patches * (1 - mae.config.mask_ratio)),
            tubes=tubes,
        )

    def __call__(self, valid: Bools) -> bool:
        """Of a sample's validity (T, H, W)."""
        t, h, w = (side // cut for side, cut in zip(valid.shape, self.cut, strict=True))
        blocks = valid.reshape(t, self.cut[0], h, self.cut[1], w, self.cut[2])
        measured = blocks.any(axis=(1, 3, 5))
        whole = measured.all(axis=0) if self.tubes else measured
        seen = self.seen * (t if self.tubes else 1)
        return bool(whole.sum() >= self.seen and measured.sum() > seen)


@dataclass(frozen=True, slots=True)
class _Usable:
    """Where samples may lie, and which areas hold no such place.

    Attributes:
        spots: of the other areas.
        unreadable: areas that cannot be read.
        empty: areas without enough to learn from.
    """

    spots: list[Spot]
    unreadable: list[Skipped]
    empty: list[Skipped]


def _usable(
    areas: Sequence[Area], statistics: BandStatistics, *, size: int, dates: int, sieve: Sieve
) -> _Usable:
    """Spots with valid pixels, in places that can fill enough patches of a sample.

    Args:
        size, dates: of a sample.

    Raises:
        SceneError: there are none.
    """

    @cache
    def fits(height: int, width: int) -> bool:
        valid = np.zeros((dates, size, size), np.bool_)
        valid[:, :height, :width] = True
        return sieve(valid)

    spots = [
        spot
        for spot in valid_spots(areas, statistics.valid)
        if spot.weight > 0 and fits(spot.place.height, spot.place.width)
    ]
    used = {spot.area for spot in spots}
    unreadable, empty = [], []
    for number, area in enumerate(areas):
        if number in statistics.unreadable:
            unreadable.append(Skipped(area.scene.id, statistics.unreadable[number]))
        elif number not in used:
            height, width = area.scene.shape
            reason = (
                f"{height} x {width} px fill too few patches of a sample of {size} px"
                if statistics.found(number)
                else "no valid pixel: nodata, or set aside by quality"
            )
            empty.append(Skipped(area.scene.id, reason))
    if not spots:
        raise SceneError(
            f"none of {len(areas)} scenes can be learnt from: "
            f"{'; '.join(map(str, [*unreadable, *empty][:3]))}; choose a smaller image_size, or "
            "other scenes"
        )
    return _Usable(spots, unreadable, empty)


def _check_samples(dataset: TileDataset) -> None:
    """Some of the first samples can be learnt from.

    Raises:
        SceneError: none can.
    """
    assert dataset.enough is not None
    for index in range(min(_TRIED, len(dataset))):
        if dataset.enough(dataset[index].valid.numpy()):
            return
    raise SceneError(
        f"no window of {dataset.size} x {dataset.size} px has enough valid patches to see some and "
        "rebuild others; choose a smaller image_size, a larger mask_ratio, or clearer scenes"
    )


_TRIED = 16


def _resolutions(scenes: Sequence[Scene]) -> list[float]:
    """Smallest, median and largest side of a pixel on the ground, metres."""
    sizes = sorted(scene.resolution for scene in scenes if scene.resolution is not None)
    return [round(sizes[at], 3) for at in (0, len(sizes) // 2, -1)]


def _curve(losses: Sequence[float], points: int = 50) -> list[list[float]]:
    """A course of losses in a few steps: the last step of each part, and the part's mean."""
    parts = np.array_split(np.asarray(losses), min(points, len(losses)))
    ends = np.cumsum([len(part) for part in parts])
    return [[int(end), round(float(part.mean()), 5)] for end, part in zip(ends, parts, strict=True)]


class Rebuilding:
    """The objective: mean squared error over the valid pixels of hidden patches."""

    def __init__(
        self, mae: MaskedAutoencoder, contract: PixelContract, *, seed: int, dropout: float = 0.0
    ) -> None:
        self.mae = mae
        self.contract = contract
        self.seed = seed
        self.dropout = dropout

    def count(self, batch: Sample) -> Tensor:
        """Valid pixels of hidden patches, (1,)."""
        return self.mae.hide(batch.valid, self._noise(batch)).scored.double().reshape(1)

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """The batch's share of the mean over ``counts`` pixels."""
        rebuilt: Tensor = self.mae(
            normalise_batch(batch, self.contract),
            batch.valid,
            self._noise(batch),
            coordinates=self._coordinates(batch),
            count=counts[0],
        ).loss
        return rebuilt

    def _noise(self, batch: Sample) -> Tensor:
        tokens = prod(self.mae.encoder.config.grid)
        return hiding_noise(batch.number, tokens=tokens, seed=self.seed).to(batch.dn.device)

    def _coordinates(self, batch: Sample) -> Coordinates | None:
        """Those that the encoder reads; NaN where a sample is not told."""
        told = coordinates_of(batch, self.mae.encoder.config.coordinates)
        if told is None:
            return None
        untold = untold_codes(batch.number, share=self.dropout, seed=self.seed)
        time, place = untold.to(batch.dn.device).unbind(1)
        return Coordinates(
            when=None
            if told.when is None
            else told.when.masked_fill(time[:, None, None], torch.nan),
            where=None if told.where is None else told.where.masked_fill(place[:, None], torch.nan),
        )


def encoder_config(shape: EncoderShape, *, bands: int, dates: int) -> EncoderConfig:
    """The shape of an encoder for these bands and dates."""
    return EncoderConfig(bands=bands, dates=dates, **asdict(shape))


def hiding_noise(number: Tensor, *, tokens: int, seed: int) -> Tensor:
    """Which tokens to hide: (B, tokens) from 0 to below 1, each row by (seed, number)."""
    # The third word keeps this stream apart from the one that draws windows.
    rows = [np.random.default_rng([seed, i, 1]).random(tokens, np.float32) for i in number.tolist()]
    return torch.from_numpy(np.stack(rows))


def untold_codes(number: Tensor, *, share: float, seed: int) -> Tensor:
    """Which samples are not told their time and their location: (B, 2) bool, by (seed, number)."""
    rows = [np.random.default_rng([seed, i, 2]).random(2) < share for i in number.tolist()]
    return torch.from_numpy(np.stack(rows))
