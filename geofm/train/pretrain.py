"""Pretraining by masked autoencoding: scenes without labels in, an encoder out."""

from collections.abc import Sequence
from dataclasses import asdict
from math import prod

import numpy as np
import torch
from torch import Tensor

from geofm.contract import PixelContract
from geofm.errors import SceneError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder
from geofm.model.mae import MaeConfig, MaskedAutoencoder, choose_visible
from geofm.model.patches import patchify
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tiles.area import areas_of, footprint
from geofm.tiles.dataset import Sample, TileDataset, valid_spots
from geofm.tiles.statistics import measure_statistics
from geofm.train.config import EncoderShape, PretrainConfig
from geofm.train.inputs import contract_of, normalise_batch
from geofm.train.loop import Progress, Rate, fit, part_of


def pretrain_encoder(
    scenes: Sequence[Scene],
    config: PretrainConfig | None = None,
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    name: str = "encoder",
    licences: Sequence[str] = (),
    progress: Progress | None = None,
) -> PretrainedEncoder:
    """Pretrain an encoder by masked autoencoding (He et al. 2022, arXiv:2111.06377).

    On one machine, the same scenes, config and threads give the same weights.

    Args:
        scenes: with the same bands, dates and level; `Scene.select` chooses bands.
        windows: for each scene, the windows that may be read, for statistics
            and for training; None for all of every scene.
        name: of the encoder.
        licences: of the pixels and labels, for the model card.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SceneError, BandError, UnitsError, GridError: the scenes do not go together.
        ModelError, ConfigError: the config does not fit, or training diverged.
    """
    config = config or PretrainConfig()
    if not scenes:
        raise SceneError("no scene to train on; give one or more")
    areas = areas_of(scenes, windows)
    tell = part_of(progress, 0.0, 0.1)
    statistics = measure_statistics(areas, progress=lambda done: tell(done, "band statistics"))
    contract = contract_of(areas, statistics)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        shape = encoder_config(config.encoder, bands=len(contract.bands), dates=contract.dates)
        mae = MaskedAutoencoder(
            Encoder(shape),
            MaeConfig(
                mask_ratio=config.mask_ratio,
                decoder_dim=config.decoder_dim,
                decoder_depth=config.decoder_depth,
                decoder_heads=config.decoder_heads,
                norm_pix_loss=config.norm_pix_loss,
            ),
        )
    dataset = TileDataset(
        areas,
        valid_spots(areas, statistics.valid),
        size=shape.image_size,
        length=config.steps * config.batch_size,
        seed=config.seed,
    )

    fitted = fit(
        mae,
        Rebuilding(mae, contract, seed=config.seed),
        dataset,
        config=config,
        rates=[Rate(mae, config.learning_rate)],
        what="masked autoencoding",
        progress=part_of(progress, 0.1, 1.0),
    )
    provenance = {
        "training_footprint": footprint(areas),
        "sources": sorted({area.scene.id for area in areas}),
        "licences": list(licences),
        "method": "masked autoencoding",
        "config": asdict(config),
        "loss": fitted.loss,
    }
    return PretrainedEncoder(
        encoder=mae.encoder, contract=contract, name=name, provenance=provenance
    )


class Rebuilding:
    """The objective: mean squared error over the valid pixels of hidden patches."""

    def __init__(self, mae: MaskedAutoencoder, contract: PixelContract, *, seed: int) -> None:
        self.mae = mae
        self.contract = contract
        self.seed = seed

    def count(self, batch: Sample) -> Tensor:
        """Valid pixels of hidden patches, (1,)."""
        shape = self.mae.encoder.config
        measured = patchify(
            batch.valid.unsqueeze(2), patch_size=shape.patch_size, tubelet=shape.tubelet
        )
        _, hidden = choose_visible(
            self._noise(batch), measured, mask_ratio=self.mae.config.mask_ratio
        )
        return (measured & hidden.unsqueeze(-1)).sum().double().reshape(1)

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """The batch's share of the mean over ``counts`` pixels."""
        pixels = normalise_batch(batch, self.contract)
        mean: Tensor = self.mae(pixels, batch.valid, self._noise(batch)).loss
        return mean * (self.count(batch).to(counts) / counts).sum()

    def _noise(self, batch: Sample) -> Tensor:
        tokens = prod(self.mae.encoder.config.grid)
        return hiding_noise(batch.number, tokens=tokens, seed=self.seed).to(batch.dn.device)


def encoder_config(shape: EncoderShape, *, bands: int, dates: int) -> EncoderConfig:
    """The shape of an encoder for these bands and dates."""
    return EncoderConfig(bands=bands, dates=dates, **asdict(shape))


def hiding_noise(number: Tensor, *, tokens: int, seed: int) -> Tensor:
    """Which tokens to hide: (B, tokens) from 0 to below 1, each row by (seed, number)."""
    # The third word keeps this stream apart from the one that draws windows.
    rows = [np.random.default_rng([seed, int(i), 1]).random(tokens, np.float32) for i in number]
    return torch.from_numpy(np.stack(rows))
