"""Fine-tuning: scenes with labels and an encoder in, a model that maps out."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from geofm.bands import LEVEL_NAMES
from geofm.contract import PixelContract
from geofm.errors import ConfigError, LabelError
from geofm.model.adapt import adapted
from geofm.model.encoder import Encoder
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.model.heads import HeadConfig, default_depths
from geofm.model.lora import merge_lora
from geofm.model.losses import balanced_weights, loss_terms
from geofm.model.segmenter import Segmenter
from geofm.scenes.catalog import Pair
from geofm.scenes.match import MAX_RESOLUTION_RATIO, masked_as, match_scene
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import TASKS, MapClass, check_classes, check_dates
from geofm.tiles.area import Area, areas_of, footprint
from geofm.tiles.dataset import Counts, Spot, TileDataset, label_spots
from geofm.tiles.labelled import DrawnWindows, FixedWindows, valid_label_spots
from geofm.tiles.statistics import BandStatistics, measure_statistics
from geofm.tiles.windows import usual_overlap
from geofm.train.config import FinetuneConfig
from geofm.train.features import RememberingEncoder
from geofm.train.inputs import check_together, contract_of
from geofm.train.labelling import Labelling, ValidationScore
from geofm.train.loop import Progress, Validation, fit, part_of
from geofm.train.machine import check_devices
from geofm.train.pretrain import encoder_config
from geofm.train.probe_start import MOST_WINDOWS, begin_as_probe
from geofm.train.rates import finetuning_rates
from geofm.train.run_folder import Run


def finetune_segmenter(
    task: str,
    classes: Sequence[MapClass],
    pairs: Sequence[Pair],
    *,
    encoder: PretrainedEncoder | None = None,
    config: FinetuneConfig | None = None,
    windows: Sequence[Sequence[Window]] | None = None,
    val: Sequence[Pair] = (),
    val_windows: Sequence[Sequence[Window]] | None = None,
    split: str = "",
    features: Path | None = None,
    name: str = "",
    licences: Sequence[str] = (),
    run: Run | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a head, and the encoder under it, on labelled pixels.

    The model reads what the labelled scenes are: their level, ground resolution
    and number of dates, in the encoder's bands. What differs from the encoder's
    own pixels is told in the provenance, ``adapted``, and in the progress.

    Samples come from where labels are, each class by the root of its pixels,
    turned and flipped with all their dates alike. With validation areas, the
    model is scored on them between steps, and the best weights are kept. On one
    machine, the same pairs, encoder, config and threads give the same weights.

    Args:
        task: what is mapped, such as ``"flood"``; any short word.
        classes: in the order of their codes.
        pairs: scenes with labels on their grid.
        encoder: to start from; None trains one of ``config.scratch`` from
            nothing, on the bands of the first scene.
        windows: for each pair, the windows that may be read; None for all.
        val: pairs to choose the weights by, apart from the others.
        val_windows: for each of them, the windows that may be read; None for all.
        split: how the two came about, for the provenance.
        features: a folder in which to keep the features of a frozen encoder;
            samples then come from the windows of a map, upright and unchanged,
            so that they and the map read the same features.
        name: of the model; the task's by default.
        licences: of the pixels and labels, for the model card.
        run: where checkpoints and curves go; None keeps nothing.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        LabelError: no valid pixel is labelled, or all of one class, or a label
            code is no class.
        BandError: a scene lacks a band of the encoder.
        SceneError, UnitsError, GridError: scenes do not go together.
        ModelError, ConfigError: the config does not fit, or training diverged.
    """
    config = _settled(config or FinetuneConfig(), chosen_by=val, features=features)
    check_devices(config)
    classes = check_classes(tuple(classes))
    if not pairs:
        raise LabelError("no scene with labels; give one or more pairs of scene and labels")
    if features is not None and (encoder is None or config.encoder_rate):
        raise ConfigError(
            "features are kept of a pretrained encoder that does not learn; give one and no rate "
            "for it to learn at, or keep no features"
        )
    start, train = part_of(progress, 0.0, 0.05), part_of(progress, 0.05, 1.0)
    masked_qa = _masked_qa(task, encoder)
    areas = _areas(pairs, windows, encoder, masked_qa)
    val_areas = _areas(val, val_windows, encoder, masked_qa)
    contract = _contract(areas, val_areas, encoder, start)
    contract = replace(contract, masked_qa=masked_qa)
    if task in TASKS:
        check_dates(TASKS[task], contract.dates)
    if split:
        start(1.0, split)
    changes = differences(encoder.contract, contract) if encoder else []
    if changes:
        start(1.0, f"fitting the encoder to the scenes: {'; '.join(changes)}")

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        segmenter = _new_segmenter(encoder, contract, classes=len(classes), config=config)
        rates = finetuning_rates(segmenter, config, pretrained=encoder is not None)
    if features is not None:
        segmenter.encoder = RememberingEncoder(segmenter.encoder, features)
    spots, pixels = _labelled_spots(areas, segmenter, contract)
    unseen = [kind.name for kind, count in zip(classes, pixels, strict=True) if not count]
    if unseen:
        start(1.0, f"no label of {', '.join(unseen)}: the model will not know it")
    samples = _samples(areas, spots, segmenter, config)
    if segmenter.head_config.skip:
        start(1.0, "linear reader of bands and tokens")
        begin_as_probe(
            segmenter,
            contract,
            areas,
            samples,
            batch_size=config.batch_size,
            seed=config.seed,
        )
    weights = balanced_weights(pixels.tolist()) if config.class_weights == "balanced" else None
    fitted = fit(
        segmenter,
        Labelling(segmenter, contract, loss_terms(config.loss, weights=weights)),
        samples,
        config=config,
        rates=rates,
        validation=_validation(val_areas, segmenter, contract, config),
        run=run,
        inputs=_inputs(areas, val_areas, encoder, classes),
        what="fine-tuning",
        progress=train,
    )
    merge_lora(segmenter.encoder)
    provenance: dict[str, Any] = {
        "training_footprint": footprint(areas),
        "validation_footprint": footprint(val_areas) if val_areas else None,
        "sources": sorted({area.scene.id for area in areas}),
        "licences": list(licences),
        "config": asdict(config),
        "loss": fitted.loss,
        "labelled_pixels": {
            kind.name: int(count) for kind, count in zip(classes, pixels, strict=True)
        },
        "adapted": changes,
        "split": split,
        "validation": {"mean IoU": fitted.best_score, "step": fitted.best_step}
        if val_areas
        else None,
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


def _settled(
    config: FinetuneConfig, *, chosen_by: Sequence[Pair], features: Path | None
) -> FinetuneConfig:
    """The config with the encoder's rate, where it was left to the labels at hand."""
    if config.encoder_rate is not None:
        return config
    learns = features is None and (bool(chosen_by) or config.lora > 0)
    return replace(config, encoder_rate=float(learns))


def _masked_qa(task: str, encoder: PretrainedEncoder | None) -> tuple[str, ...]:
    """What is set aside in training, and by the model for ever after: the task's own choice."""
    if task in TASKS:
        return TASKS[task].masked_qa
    return encoder.contract.masked_qa if encoder else ()


def _areas(
    pairs: Sequence[Pair],
    windows: Sequence[Sequence[Window]] | None,
    encoder: PretrainedEncoder | None,
    masked_qa: tuple[str, ...],
) -> list[Area]:
    """What may be read: the encoder's bands of each scene, in their order."""
    scenes = [masked_as(masked_qa, pair.scene) for pair in pairs]
    if encoder is not None:
        scenes = [_with_bands_of(encoder.contract, scene) for scene in scenes]
    return areas_of(scenes, windows, [pair.labels for pair in pairs])


def _with_bands_of(contract: PixelContract, scene: Scene) -> Scene:
    """The scene with the bands of an encoder; all else about it may differ.

    Raises:
        BandError: it lacks one.
    """
    as_it_is = replace(
        contract,
        level=scene.level,
        resolution=scene.resolution or contract.resolution,
        dates=len(scene.dates),
        min_valid_dates=1,
    )
    return match_scene(as_it_is, scene).scene


def _contract(
    areas: Sequence[Area],
    val_areas: Sequence[Area],
    encoder: PretrainedEncoder | None,
    progress: Progress,
) -> PixelContract:
    """The pixels that the labelled scenes share.

    The encoder's statistics are what its weights have learnt to read, so they
    stay, unless reflectance means another thing here.
    """
    check_together([area.scene for area in (*areas, *val_areas)], dates=0, any_resolution=False)
    if encoder is None or encoder.contract.level != areas[0].scene.level:
        statistics = measure_statistics(
            areas, progress=lambda done: progress(done, "band statistics")
        )
    else:
        statistics = BandStatistics(encoder.contract.mean, encoder.contract.std, ())
    return contract_of(areas, statistics)


def labelled_contract(
    task: str,
    pairs: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    encoder: PretrainedEncoder | None = None,
) -> PixelContract:
    """The pixels that a model would read that `finetune_segmenter` trains on these pairs."""
    masked_qa = _masked_qa(task, encoder)
    areas = _areas(pairs, windows, encoder, masked_qa)
    contract = _contract(areas, [], encoder, lambda _done, _text: None)
    return replace(contract, masked_qa=masked_qa)


def differences(before: PixelContract, now: PixelContract) -> list[str]:
    """How the pixels of a model differ from those that its encoder was pretrained on."""
    found = []
    if before.level != now.level:
        found.append(
            f"{LEVEL_NAMES[before.level]} to {LEVEL_NAMES[now.level]}, statistics measured anew"
        )
    ratio = now.resolution / before.resolution
    if not 1 / MAX_RESOLUTION_RATIO <= ratio <= MAX_RESOLUTION_RATIO:
        found.append(f"pixels of {before.resolution:.3g} to {now.resolution:.3g} m")
    if before.dates != now.dates:
        found.append(f"dates from {before.dates} to {now.dates}")
    return found


def _new_segmenter(
    encoder: PretrainedEncoder | None,
    contract: PixelContract,
    *,
    classes: int,
    config: FinetuneConfig,
) -> Segmenter:
    """A fresh head on a copy of the encoder, built for these inputs, or on a fresh one."""
    if encoder is not None:
        patch = encoder.encoder.config.patch_size
        _check_size(config.image_size, patch)
        size = config.image_size or encoder.encoder.config.image_size
        backbone = adapted(encoder.encoder, dates=contract.dates, image_size=size)
    else:
        shape = encoder_config(config.scratch, bands=len(contract.bands), dates=contract.dates)
        _check_size(config.image_size, shape.patch_size)
        backbone = Encoder(replace(shape, image_size=config.image_size or shape.image_size))
    head = HeadConfig(
        kind=config.head,
        classes=classes,
        depths=config.depths or default_depths(config.head, backbone.config.depth),
        channels=config.channels,
        skip=config.head == "fcn" and config.start != "random",
    )
    return Segmenter(backbone, head)


def _check_size(image_size: int, patch_size: int) -> None:
    if image_size % patch_size:
        raise ConfigError(
            f"image_size is {image_size}; needed a multiple of the encoder's patch_size, "
            f"{patch_size}"
        )


def _labelled_spots(
    areas: Sequence[Area], segmenter: Segmenter, contract: PixelContract
) -> tuple[list[Spot], Counts]:
    """Where samples come from, and the labelled, valid pixels of each class."""
    classes = segmenter.head_config.classes
    return valid_label_spots(
        areas,
        label_spots(areas, classes=classes, size=segmenter.encoder.config.image_size),
        classes=classes,
        min_valid_dates=contract.min_valid_dates,
    )


def _samples(
    areas: Sequence[Area],
    spots: Sequence[Spot],
    segmenter: Segmenter,
    config: FinetuneConfig,
) -> TileDataset | DrawnWindows:
    """What the steps learn from, and the reader that the head begins as."""
    # The reader may look at more windows than a short training.
    length = max(config.steps * config.batch_size, MOST_WINDOWS + config.batch_size)
    shape = segmenter.encoder.config
    if not isinstance(segmenter.encoder, RememberingEncoder):
        return TileDataset(
            areas,
            spots,
            size=shape.image_size,
            length=length,
            seed=config.seed,
            light=config.light,
        )
    return DrawnWindows(
        FixedWindows(
            areas,
            size=shape.image_size,
            overlap=usual_overlap(shape.image_size, patch=shape.patch_size),
            classes=segmenter.head_config.classes,
        ),
        seed=config.seed,
    )


def _inputs(
    areas: Sequence[Area],
    val_areas: Sequence[Area],
    encoder: PretrainedEncoder | None,
    classes: Sequence[MapClass],
) -> dict[str, object]:
    """What a run's curve follows from beside its config."""
    return {
        "encoder": encoder and (encoder.sha256 or encoder.name),
        "classes": [kind.name for kind in classes],
        "scenes": [(area.scene.id, area.windows) for area in areas],
        "validation": [(area.scene.id, area.windows) for area in val_areas],
    }


def _validation(
    areas: Sequence[Area], segmenter: Segmenter, contract: PixelContract, config: FinetuneConfig
) -> Validation | None:
    """How to choose the best weights; None without areas for it."""
    if not areas:
        return None
    classes = segmenter.head_config.classes
    windows = FixedWindows(
        areas, size=segmenter.encoder.config.image_size, once=True, classes=classes
    )
    return Validation(
        every=config.val_every or max(config.steps // 20, 1),
        score=ValidationScore(
            segmenter, contract, windows, classes=classes, batch_size=config.batch_size
        ),
        patience=config.patience,
    )
