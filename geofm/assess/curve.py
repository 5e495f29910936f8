"""How many labels does a map need? Scores by number of labels, for a model and its controls.

Every training starts anew with the first 1, 2, 4 ... of the labelled scenes in an order that a
seed draws. All methods see the same scenes, in the same number of samples, and are scored on the
same ground. Each finished training is a row of a CSV file; a curve that was stopped goes on
where it ended.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.curve_rows import (
    METHOD_NAMES,
    METHODS,
    CurveConfig,
    CurveRow,
    LabelCurve,
    Method,
    append_row,
    points_of,
    read_rows,
)
from geofm.assess.evaluate import evaluate_model
from geofm.errors import ConfigError, LabelError
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.predict.engine import MapOptions, Progress
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tasks import MapClass
from geofm.tiles.area import cells
from geofm.tiles.dealing import class_counts
from geofm.train.config import ControlConfig, EncoderShape, FinetuneConfig
from geofm.train.control import CONTROLS, check_installed, train_control
from geofm.train.finetune import finetune_segmenter, labelled_contract

_FEW_PAIRS = 4
"""Below it scenes are cut into blocks, and blocks are what is counted as labelled."""
Unit = tuple[int, tuple[Window, ...]]
"""What is labelled at once: a pair by its position, and windows of it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    """What all trainings of a curve share."""

    task: str
    classes: tuple[MapClass, ...]
    pairs: Sequence[Pair]
    test: Sequence[Pair]
    test_windows: Sequence[Sequence[Window]] | None
    encoder: PretrainedEncoder | None
    config: FinetuneConfig
    control: ControlConfig
    options: MapOptions | None


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One training of a curve.

    Attributes:
        units: that are labelled.
        pixels: that are labelled in them.
    """

    method: Method
    units: tuple[Unit, ...]
    seed: int
    pixels: int

    @property
    def name(self) -> str:
        return f"{METHOD_NAMES[self.method]}, {len(self.units)} labelled, seed {self.seed}"


def label_curve(
    task: str,
    classes: Sequence[MapClass],
    pairs: Sequence[Pair],
    test: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    test_windows: Sequence[Sequence[Window]] | None = None,
    encoder: PretrainedEncoder | None = None,
    config: FinetuneConfig | None = None,
    control: ControlConfig | None = None,
    curve: CurveConfig | None = None,
    rows: Path | None = None,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> LabelCurve:
    """Train with more and more labels, and score each on the same test ground.

    Nothing is set apart for validation: with few labels all are learnt from, by every
    method alike, for the steps of the config. A pretrained encoder stays as it is then,
    unless ``config.encoder_rate`` says otherwise.

    Args:
        pairs, windows: that may be learnt from.
        test, test_windows: that are scored.
        encoder: of the method ``"pretrained"``; ``"scratch"`` is its twin with random weights.
        config: of each training; its seed is the first of them.
        rows: a CSV file of finished trainings; those it holds are not trained again.
        options: of mapping, as `evaluate_model`.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        ConfigError: a count is out of range, or the extra ``control`` is not installed.
        LabelError, SplitError: nothing to learn from, or test ground that is learnt from.
        OutputError: the CSV file is none of a curve.
    """
    config, curve = config or FinetuneConfig(), curve or CurveConfig()
    encoder_config = None if encoder is None else encoder.encoder.config
    if encoder_config is not None:
        # From scratch: the same architecture, of random weights.
        names = [field.name for field in fields(EncoderShape)]
        shape = EncoderShape(**{name: getattr(encoder_config, name) for name in names})
        config = replace(config, scratch=shape)
    setting = _Setting(
        task, tuple(classes), pairs, test, test_windows, encoder, config,
        control or ControlConfig(), options,
    )  # fmt: skip
    methods = _methods(curve, encoder)
    units = _units(pairs, windows, side=curve.block or _image_size(setting))
    content = np.array(
        [sum(class_counts(pairs[at].labels, w)[: len(classes)] for w in some) for at, some in units]
    )
    units = [unit for unit, found in zip(units, content, strict=True) if found.any()]
    content = content[content.any(axis=1)]
    if not units:
        raise LabelError("no scene has a labelled pixel; check the labels and their codes")
    known = {row.key: row for row in read_rows(rows)} if rows else {}
    found = []
    jobs = []
    seeds = range(config.seed, config.seed + curve.seeds)
    for count, seed, method in product(_counts(curve, len(units)), seeds, methods):
        chosen = drawn_order(content, seed=seed)[:count]
        pixels = int(content[chosen].sum())
        jobs.append(_Job(method, tuple(units[at] for at in chosen), seed, pixels))
    for at, job in enumerate(jobs):
        row = known.get(_key(setting, job))
        if row is None:
            row = _trained_row(setting, job, _part(progress, at, len(jobs), job.name))
            if rows:
                append_row(rows, row)
        found.append(row)
    order = {method: number for number, method in enumerate(METHODS)}
    found.sort(key=lambda row: (order[row.method], row.labels, row.seed))  # type: ignore[index]
    unit = "labelled scenes" if len(pairs) >= _FEW_PAIRS else "labelled blocks"
    return LabelCurve(tuple(found), tuple(points_of(found)), unit)


def drawn_order(content: npt.NDArray[Any], *, seed: int) -> list[int]:
    """Units in a random order, the first of which shows two classes where one does.

    Args:
        content: (units, K) labelled pixels.
    """
    order: list[int] = (
        np.random.default_rng([seed, len(content)]).permutation(len(content)).tolist()
    )
    mixed = [at for at in order if np.count_nonzero(content[at]) > 1]
    if mixed:
        order.remove(mixed[0])
        order.insert(0, mixed[0])
    return order


def _methods(curve: CurveConfig, encoder: PretrainedEncoder | None) -> tuple[Method, ...]:
    if encoder is None and "pretrained" in curve.methods:
        raise ConfigError("the method pretrained needs an encoder (--encoder); give one")
    methods = curve.methods or tuple(m for m in METHODS if encoder or m != "pretrained")
    if set(methods) & set(CONTROLS):
        check_installed()  # before an hour of training, not after it
    return methods


def _counts(curve: CurveConfig, units: int) -> list[int]:
    if not curve.counts:
        return sorted({*(2**power for power in range(units.bit_length())), units})
    if max(curve.counts) > units:
        raise ConfigError(
            f"{max(curve.counts)} labelled scenes or blocks are asked for, and there are {units}; "
            "give fewer"
        )
    return sorted(set(curve.counts))


def _units(
    pairs: Sequence[Pair], windows: Sequence[Sequence[Window]] | None, *, side: int
) -> list[Unit]:
    """What is labelled at once: scenes, or blocks of a few large ones."""
    given = [
        (Window(0, 0, *pair.scene.shape),) if windows is None else tuple(windows[at])
        for at, pair in enumerate(pairs)
    ]
    if len(pairs) >= _FEW_PAIRS:
        return list(enumerate(given))
    return [
        (at, (cell,)) for at, some in enumerate(given) for w in some for cell in cells(w, size=side)
    ]


def _image_size(setting: _Setting) -> int:
    return setting.config.image_size or setting.config.scratch.image_size


def _trained_row(setting: _Setting, job: _Job, progress: Progress | None) -> CurveRow:
    began, note = time.monotonic(), ""
    score = interval = None
    try:
        model = _train(setting, job, progress)
    except LabelError as error:  # so few labels may be of one class, or under cloud
        note = " ".join(str(error).split())
    else:
        found = evaluate_model(
            model, setting.test, windows=setting.test_windows, options=setting.options
        )
        score, interval = found.mean_iou.value, found.mean_iou.interval
    low, high = interval or (None, None)
    return CurveRow(
        method=job.method,
        labels=len(job.units),
        pixels=job.pixels,
        seed=job.seed,
        mean_iou=score,
        low=low,
        high=high,
        seconds=round(time.monotonic() - began, 2),
        note=note,
        key=_key(setting, job),
    )


def _train(setting: _Setting, job: _Job, progress: Progress | None) -> TrainedModel:
    windows: dict[int, list[Window]] = {}
    for at, some in job.units:
        windows.setdefault(at, []).extend(some)
    pairs, places = [setting.pairs[at] for at in windows], list(windows.values())
    config = replace(setting.config, seed=job.seed)
    if job.method in ("pretrained", "scratch"):
        return finetune_segmenter(
            setting.task,
            setting.classes,
            pairs,
            encoder=setting.encoder if job.method == "pretrained" else None,
            config=config,
            windows=places,
            progress=progress,
        )
    return train_control(
        "unet" if job.method == "unet" else "forest",
        setting.task,
        setting.classes,
        pairs,
        contract=labelled_contract(setting.task, pairs, windows=places, encoder=setting.encoder),
        image_size=_image_size(setting),
        config=config,
        control=setting.control,
        windows=places,
        progress=progress,
    )


def _key(setting: _Setting, job: _Job) -> str:
    """What a training and its score follow from, in a few letters."""
    encoder = setting.encoder
    facts = {
        "task": setting.task,
        "classes": [kind.name for kind in setting.classes],
        "method": job.method,
        "units": [(setting.pairs[at].scene.id, setting.pairs[at].name, w) for at, w in job.units],
        "pixels": job.pixels,
        "seed": job.seed,
        "config": asdict(setting.config),
        "encoder": encoder and (encoder.sha256 or encoder.name),
        "control": asdict(setting.control) if job.method in CONTROLS else None,
        "test": [(pair.scene.id, pair.name) for pair in setting.test],
        "test_windows": setting.test_windows and [tuple(w) for w in setting.test_windows],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _part(progress: Progress | None, at: int, total: int, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, text: progress((at + done) / total, f"{name}: {text}")
