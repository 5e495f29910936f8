"""Controls: what a map would be without a foundation model, on the same pixels and budget.

Two models that anybody could train instead: a U-Net (segmentation-models-pytorch), which sees
as many samples, drawn and turned alike, under the same loss; and a random forest
(scikit-learn), which knows each pixel alone, by its bands on all dates. Both come as a
`TrainedModel`, so that what maps and scores them is what maps and scores ours. They live in
memory: no model folder holds them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from geofm.contract import PixelContract
from geofm.errors import ConfigError, LabelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import TrainedModel
from geofm.model.heads import HeadConfig
from geofm.model.losses import balanced_weights, loss_terms
from geofm.model.segmenter import Segmenter
from geofm.scenes.catalog import Pair
from geofm.scenes.match import masked_as, match_scene
from geofm.scenes.window import Window
from geofm.tasks import MapClass, check_classes
from geofm.tiles.area import Area, areas_of, footprint
from geofm.tiles.dataset import TileDataset, label_spots
from geofm.tiles.labelled import FixedWindows, valid_label_spots
from geofm.train.config import ControlConfig, FinetuneConfig
from geofm.train.inputs import normalise_batch
from geofm.train.labelling import Labelling, ValidationScore, scored_target
from geofm.train.loop import Progress, Validation, fit, part_of
from geofm.train.optim import Rate

ControlKind = Literal["unet", "forest"]
CONTROLS: tuple[ControlKind, ...] = ("unet", "forest")

_STRIDE = 32
"""Sides that the U-Net's five halvings divide."""
_READ = 8
"""Windows that are in memory at once while a forest's pixels are drawn."""


class Control(Segmenter):
    """A model in a segmenter's place: images (B, T, C, H, W), normalised, to logits (B, K, H, W).

    Args:
        shape: of its inputs; what it says of a transformer is not true of it.
    """

    def __init__(self, body: nn.Module, shape: EncoderConfig, *, classes: int) -> None:
        nn.Module.__init__(self)  # not a segmenter's: there is neither encoder nor head
        self.body = body
        self.head_config = HeadConfig(kind="linear", classes=classes, depths=(0,), channels=1)
        self.encoder = cast("Encoder", _Shape(shape))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) to (B, K, H, W)."""
        logits: Tensor = self.body(x)
        return logits


class _Shape(nn.Module):
    """Where an encoder would tell its input's shape."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config


class _UNet(nn.Module):
    """A U-Net over the bands of all dates together."""

    def __init__(self, channels: int, classes: int, config: ControlConfig) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp

        try:
            self.net = smp.Unet(
                encoder_name=config.unet_encoder,
                encoder_weights=config.unet_weights,
                in_channels=channels,
                classes=classes,
            )
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"segmentation-models-pytorch has no encoder {config.unet_encoder!r} with weights "
                f"{config.unet_weights!r}; choose resnet18 or resnet34, and weights None or "
                "'imagenet'"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        below, right = -height % _STRIDE, -width % _STRIDE
        logits: Tensor = self.net(F.pad(x.flatten(1, 2), (0, right, 0, below)))
        return logits[..., :height, :width]


class _Forest(nn.Module):
    """A random forest as a module: each pixel by itself."""

    def __init__(self, forest: Any, classes: int) -> None:
        super().__init__()
        self.forest = forest
        self.classes = classes
        # So that its hash, of tensors as any model's, tells one forest from another.
        found = hashlib.sha256()
        for tree in (each.tree_ for each in forest.estimators_):
            for numbers in (tree.feature, tree.threshold, tree.children_left, tree.value):
                found.update(np.ascontiguousarray(numbers).tobytes())
        self.register_buffer("digest", torch.tensor(list(found.digest()), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, height, width = x.shape
        found = self.forest.predict_proba(_pixels(x).cpu().numpy())
        shares = np.zeros((len(found), self.classes), np.float32)
        shares[:, self.forest.classes_] = found
        votes = torch.from_numpy(shares).reshape(batch, height, width, self.classes)
        # No tree's word is certain: a class without votes has less than half a vote.
        floor = 0.5 / len(self.forest.estimators_)
        return votes.clamp(min=floor).log().permute(0, 3, 1, 2).to(x.device)


def train_control(
    kind: ControlKind,
    task: str,
    classes: Sequence[MapClass],
    pairs: Sequence[Pair],
    *,
    contract: PixelContract,
    image_size: int,
    config: FinetuneConfig | None = None,
    control: ControlConfig | None = None,
    windows: Sequence[Sequence[Window]] | None = None,
    val: Sequence[Pair] = (),
    val_windows: Sequence[Sequence[Window]] | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a control on what a model was trained on.

    Args:
        kind: ``"unet"`` or ``"forest"``.
        contract: of that model: bands, statistics, dates, what is set aside.
        image_size: of that model; the U-Net learns and maps in windows of it.
        config: of that model: steps, samples, loss, seed, augmentation, validation.
        task, classes, pairs, windows, val, val_windows, progress: as `finetune_segmenter`.

    Raises:
        ConfigError: the extra is not installed, or training diverged.
        LabelError: no valid pixel is labelled, or all of one class.
        BandError, SceneError, UnitsError, GridError: a scene does not fit the contract.
    """
    check_installed()
    if not pairs:
        raise LabelError("no scene with labels; give one or more pairs of scene and labels")
    config, control = config or FinetuneConfig(), control or ControlConfig()
    # The processes of the model's own training have ended with it, and a control is small.
    config = replace(config, devices=1, num_nodes=1)
    classes = check_classes(tuple(classes))
    areas = _areas(contract, pairs, windows)
    val_areas = _areas(contract, val, val_windows)
    shape = EncoderConfig(
        bands=len(contract.bands),
        dates=contract.dates,
        image_size=image_size,
        patch_size=_patch(image_size),
        embed_dim=16,
        depth=1,
        num_heads=1,
    )
    job = _Job(areas, val_areas, contract, shape, len(classes), config, control, progress)
    segmenter, facts = _train_unet(job) if kind == "unet" else _train_forest(job)
    provenance = {
        "training_footprint": footprint(areas),
        "validation_footprint": footprint(val_areas) if val_areas else None,
        "sources": sorted({area.scene.id for area in areas}),
        "licences": [],
        "config": {**asdict(config), **asdict(control)},
        "encoder": None,
        **facts,
    }
    return TrainedModel(
        segmenter=segmenter,
        contract=contract,
        classes=classes,
        task=task,
        name={"unet": "U-Net", "forest": "random forest"}[kind],
        provenance=provenance,
    )


def check_installed() -> None:
    """Say what the controls need, where it is not there.

    Raises:
        ConfigError: the extra is not installed.
    """
    from importlib.util import find_spec

    names = {
        "segmentation_models_pytorch": "segmentation-models-pytorch",
        "sklearn": "scikit-learn",
    }
    if missing := [told for name, told in names.items() if find_spec(name) is None]:
        raise ConfigError(
            f"controls need {' and '.join(missing)}, which this Python lacks; install: "
            "pip install 'geofm[control]'"
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """What both controls are trained from."""

    areas: list[Area]
    val_areas: list[Area]
    contract: PixelContract
    shape: EncoderConfig
    classes: int
    config: FinetuneConfig
    control: ControlConfig
    progress: Progress | None


def _areas(
    contract: PixelContract, pairs: Sequence[Pair], windows: Sequence[Sequence[Window]] | None
) -> list[Area]:
    scenes = [
        match_scene(contract, masked_as(contract.masked_qa, pair.scene)).scene for pair in pairs
    ]
    return areas_of(scenes, windows, [pair.labels for pair in pairs])


def _patch(image_size: int) -> int:
    """What windows may be moved by: 8 px, or what divides their side."""
    return next(side for side in (8, 4, 2, 1) if image_size % side == 0)


def _train_unet(job: _Job) -> tuple[Control, dict[str, Any]]:
    config, size = job.config, job.shape.image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        body = _UNet(job.shape.bands * job.shape.dates, job.classes, job.control)
    unet = Control(body, job.shape, classes=job.classes)
    spots, pixels = valid_label_spots(
        job.areas,
        label_spots(job.areas, classes=job.classes, size=size),
        classes=job.classes,
        min_valid_dates=job.contract.min_valid_dates,
    )
    weights = balanced_weights(pixels.tolist()) if config.class_weights == "balanced" else None
    validation = None
    if job.val_areas:
        windows = FixedWindows(job.val_areas, size=size, once=True, classes=job.classes)
        validation = Validation(
            every=config.val_every or max(config.steps // 20, 1),
            score=ValidationScore(
                unet, job.contract, windows, classes=job.classes, batch_size=config.batch_size
            ),
            patience=config.patience,
        )
    rate = job.control.unet_rate
    fitted = fit(
        unet,
        Labelling(unet, job.contract, loss_terms(config.loss, weights=weights)),
        TileDataset(
            job.areas,
            spots,
            size=size,
            length=config.steps * config.batch_size,
            seed=config.seed,
            light=config.light,
        ),
        config=replace(config, learning_rate=rate),
        rates=[Rate(unet, rate)],
        validation=validation,
        what="training a U-Net",
        progress=part_of(job.progress, 0.0, 1.0),
    )
    return unet, {"loss": fitted.loss, "steps": fitted.steps}


def _train_forest(job: _Job) -> tuple[Control, dict[str, Any]]:
    from sklearn.ensemble import RandomForestClassifier

    told = part_of(job.progress, 0.0, 1.0)
    told(0.0, "drawing pixels for a forest")
    x, y = _drawn_pixels(job)
    told(0.5, f"growing {job.control.trees} trees")
    forest = RandomForestClassifier(
        n_estimators=job.control.trees,
        min_samples_leaf=2,
        n_jobs=torch.get_num_threads(),
        random_state=job.config.seed,
    ).fit(x, y)
    told(1.0, "a forest has grown")
    control = Control(_Forest(forest, job.classes), job.shape, classes=job.classes)
    return control.eval(), {"pixels": len(y)}


def _drawn_pixels(job: _Job) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Labelled, valid pixels, (n, T * C) and (n,): each class by the root of its number.

    So are the samples of all models here; each labelled pixel is met once at most.
    """
    windows = FixedWindows(job.areas, size=job.shape.image_size, once=True, classes=job.classes)
    there = windows.pixels.sum(axis=0)
    wanted = np.sqrt(there) / np.sqrt(there).sum() * job.control.pixels
    chance = np.minimum(wanted / np.maximum(there, 1), 1.0)
    random = np.random.default_rng(job.config.seed)
    features, targets = [], []
    for first in range(0, len(windows), _READ):
        numbers = range(first, min(first + _READ, len(windows)))
        batch = default_collate([windows[number] for number in numbers])
        target = scored_target(batch, job.contract).flatten().numpy()
        lucky = random.random(len(target)) < np.append(chance, 0.0)[np.minimum(target, job.classes)]
        features.append(_pixels(normalise_batch(batch, job.contract))[lucky].numpy())
        targets.append(target[lucky])
    y = np.concatenate(targets)
    if len(np.unique(y)) < 2:
        raise LabelError(
            "where scenes are valid, fewer than two classes are labelled; label other places, or "
            "set less aside (masked_qa=)"
        )
    return np.concatenate(features), y


def _pixels(x: Tensor) -> Tensor:
    """Images (B, T, C, H, W) as pixels (B * H * W, T * C)."""
    return x.flatten(1, 2).permute(0, 2, 3, 1).flatten(0, 2)
