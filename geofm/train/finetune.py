"""Fine-tuning: scenes with labels and an encoder in, a model that maps out."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace

import torch
from torch import Tensor

from geofm.contract import PixelContract
from geofm.errors import ConfigError, LabelError
from geofm.model.encoder import Encoder
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.model.heads import HeadConfig, default_depths
from geofm.model.losses import cross_entropy
from geofm.model.segmenter import Segmenter
from geofm.scenes.catalog import Pair
from geofm.scenes.match import masked_as, match_scene
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, TASKS, MapClass, check_classes
from geofm.tiles.area import Area, areas_of, footprint
from geofm.tiles.dataset import Sample, TileDataset, label_spots
from geofm.tiles.statistics import measure_statistics
from geofm.train.config import FinetuneConfig
from geofm.train.inputs import contract_of, normalise_batch
from geofm.train.loop import Progress, Rate, fit
from geofm.train.pretrain import encoder_config


def finetune_segmenter(
    task: str,
    classes: Sequence[MapClass],
    pairs: Sequence[Pair],
    *,
    encoder: PretrainedEncoder | None = None,
    config: FinetuneConfig | None = None,
    windows: Sequence[Sequence[Window]] | None = None,
    name: str = "",
    licences: Sequence[str] = (),
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a head, and the encoder under it, on labelled pixels.

    The loss is the mean cross-entropy of labelled, valid pixels. Samples come
    from where labels are, each class as often as the others. On one machine,
    the same pairs, encoder, config and threads give the same weights.

    Args:
        task: what is mapped, such as ``"flood"``; any short word.
        classes: in the order of their codes.
        pairs: scenes with labels on their grid.
        encoder: whose pixel contract the scenes must meet; None trains one of
            ``config.scratch`` from nothing, on the bands of the first scene.
        windows: for each pair, the windows that may be read; None for all.
        name: of the model; the task's by default.
        licences: of the pixels and labels, for the model card.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        LabelError: no pixel is labelled, or a label code is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit the
            encoder, or scenes do not go together.
        ModelError, ConfigError: the config does not fit, or training diverged.
    """
    config = config or FinetuneConfig()
    classes = check_classes(tuple(classes))
    if not pairs:
        raise LabelError("no scene with labels; give one or more pairs of scene and labels")
    masked_qa = _masked_qa(task, encoder)
    scenes = [masked_as(masked_qa, pair.scene) for pair in pairs]
    if encoder is not None:
        scenes = [match_scene(encoder.contract, scene).scene for scene in scenes]
    areas = areas_of(scenes, windows, [pair.labels for pair in pairs])
    contract = encoder.contract if encoder else _measured_contract(areas)
    contract = replace(contract, masked_qa=masked_qa)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        segmenter = _new_segmenter(encoder, contract, classes=len(classes), config=config)
    size = config.image_size or segmenter.encoder.config.image_size
    dataset = TileDataset(
        areas,
        label_spots(areas, classes=len(classes), size=size),
        size=size,
        length=config.steps * config.batch_size,
        seed=config.seed,
        light=config.light,
    )

    encoder_rate = config.learning_rate * (config.encoder_rate if encoder else 1.0)
    fitted = fit(
        segmenter,
        Labelling(segmenter, contract),
        dataset,
        config=config,
        rates=[
            Rate(segmenter.encoder, encoder_rate),
            Rate(segmenter.head, config.learning_rate),
        ],
        what="fine-tuning",
        progress=progress,
    )
    provenance = {
        "training_footprint": footprint(areas),
        "sources": sorted({area.scene.id for area in areas}),
        "licences": list(licences),
        "config": asdict(config),
        "loss": fitted.loss,
        "encoder": None
        if encoder is None
        else {"name": encoder.name, "sha256": encoder.sha256, **encoder.provenance},
    }
    return TrainedModel(
        segmenter=segmenter,
        contract=contract,
        classes=classes,
        task=task,
        name=name or task,
        provenance=provenance,
    )


class Labelling:
    """The objective: mean cross-entropy over labelled, valid pixels."""

    def __init__(self, segmenter: Segmenter, contract: PixelContract) -> None:
        self.segmenter = segmenter
        self.contract = contract

    def count(self, batch: Sample) -> Tensor:
        """Labelled, valid pixels, (1,)."""
        return ((batch.target != IGNORE) & self._valid(batch)).sum().double().reshape(1)

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """The batch's share of the mean over ``counts`` pixels."""
        logits = self.segmenter(normalise_batch(batch, self.contract))
        mean = cross_entropy(logits, batch.target, valid=self._valid(batch))
        return mean * (self.count(batch).to(counts) / counts).sum()

    def _valid(self, batch: Sample) -> Tensor:
        return batch.valid.sum(dim=1) >= self.contract.min_valid_dates


def _masked_qa(task: str, encoder: PretrainedEncoder | None) -> tuple[str, ...]:
    """What is set aside in training, and by the model for ever after: the task's own choice."""
    if task in TASKS:
        return TASKS[task].masked_qa
    return encoder.contract.masked_qa if encoder else ()


def _measured_contract(areas: Sequence[Area]) -> PixelContract:
    return contract_of(areas, measure_statistics(areas))


def _new_segmenter(
    encoder: PretrainedEncoder | None,
    contract: PixelContract,
    *,
    classes: int,
    config: FinetuneConfig,
) -> Segmenter:
    """A fresh head on a copy of the encoder, or on a fresh one."""
    if encoder is not None:
        backbone = deepcopy(encoder.encoder)
    else:
        shape = encoder_config(config.scratch, bands=len(contract.bands), dates=contract.dates)
        backbone = Encoder(shape)
    if config.image_size % backbone.config.patch_size:
        raise ConfigError(
            f"image_size is {config.image_size}; needed a multiple of the encoder's patch_size, "
            f"{backbone.config.patch_size}"
        )
    head = HeadConfig(
        kind=config.head,
        classes=classes,
        depths=config.depths or default_depths(config.head, backbone.config.depth),
        channels=config.channels,
    )
    return Segmenter(backbone, head)
