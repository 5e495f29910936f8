"""How many labels does a map need? Scores by number of labels, for a model and its controls.

Every training starts anew with the first 1, 2, 4 ... of the labelled scenes in an order that a
seed draws. All methods see the same scenes, in the same number of samples, and are scored on the
same ground. Each finished training is a row of a CSV file; a curve that was stopped goes on
where it ended.
"""

import csv
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geofm.assess.evaluate import evaluate_model
from geofm.errors import ConfigError, LabelError, OutputError
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.predict.engine import MapOptions, Progress
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tasks import MapClass
from geofm.tiles.area import cells
from geofm.tiles.dealing import class_counts
from geofm.train.config import EncoderShape, FinetuneConfig
from geofm.train.control import CONTROLS, ControlConfig, check_installed, train_control
from geofm.train.finetune import finetune_segmenter, labelled_contract

Method = Literal["pretrained", "scratch", "unet", "forest"]
METHODS: tuple[Method, ...] = ("pretrained", "scratch", "unet", "forest")
METHOD_NAMES: Mapping[str, str] = {
    "pretrained": "pretrained",
    "scratch": "from scratch",
    "unet": "U-Net",
    "forest": "random forest",
}
_FEW_PAIRS = 4
"""Below it scenes are cut into blocks, and blocks are what is counted as labelled."""
# Student's t, two-sided 95 %, by degrees of freedom from 1.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)

Unit = tuple[int, tuple[Window, ...]]
"""What is labelled at once: a pair by its position, and windows of it."""


@dataclass(frozen=True, slots=True)
class CurveRow:
    """One finished training.

    Attributes:
        method: one of `METHODS`.
        labels: labelled scenes (or blocks) that it learnt from.
        pixels: labelled pixels in them.
        seed: of the draw of the scenes, and of the training.
        mean_iou: on the test ground; None where it could not be trained.
        low, high: 95 % interval of this model's score over test ground; None with too few
            blocks.
        seconds: of training and scoring.
        note: why it could not be trained.
        key: tells a training from all others; of settings, scenes and test ground.
    """

    method: str
    labels: int
    pixels: int
    seed: int
    mean_iou: float | None
    low: float | None
    high: float | None
    seconds: float
    note: str
    key: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A method with so many labels, over its seeds.

    Attributes:
        mean_iou: mean over the seeds.
        interval: 95 % of that mean, by Student's t over seeds; None with fewer than two.
        seeds: that could be trained.
    """

    method: str
    labels: int
    mean_iou: float
    interval: tuple[float, float] | None
    seeds: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelCurve:
    """Scores by number of labels.

    Attributes:
        rows: every training, by method, labels and seed.
        points: the same over seeds.
        unit: what ``labels`` counts, such as ``"labelled scenes"``.
    """

    rows: tuple[CurveRow, ...]
    points: tuple[CurvePoint, ...]
    unit: str

    def __str__(self) -> str:
        counts = sorted({point.labels for point in self.points})
        methods = list(dict.fromkeys(point.method for point in self.points))
        told = {(p.method, p.labels): _cell(p) for p in self.points}
        width = max(len(self.unit), *(len(METHOD_NAMES[method]) for method in methods))
        lines = [
            f"{METHOD_NAMES[method]:{width}}"
            + "".join(f"  {told.get((method, count), '-'):>15}" for count in counts)
            for method in methods
        ]
        head = f"{self.unit:{width}}" + "".join(f"  {count:>15}" for count in counts)
        return "\n".join([head, *lines])

    __repr__ = __str__

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "unit": self.unit,
            "points": [asdict(point) for point in self.points],
            "rows": [asdict(row) for row in self.rows],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveConfig:
    """Which points of a curve.

    Attributes:
        counts: numbers of labelled scenes; empty for 1, 2, 4 ... and all.
        seeds: trainings a point; the intervals want 3 or more.
        methods: empty for all, without ``"pretrained"`` where no encoder is given.
        block: side of what counts as labelled where there are fewer than four scenes,
            pixels; 0 for the side of a training sample.

    Raises:
        ConfigError: a value is out of range.
    """

    counts: tuple[int, ...] = ()
    seeds: int = 5
    methods: tuple[Method, ...] = ()
    block: int = 0

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.counts) or self.seeds < 1 or self.block < 0:
            raise ConfigError(
                f"counts {self.counts}, {self.seeds} seeds and blocks of {self.block} px; needed "
                "counts and seeds of 1 or more"
            )
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise ConfigError(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")


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
    method alike, for the steps of the config.

    Args:
        pairs, windows: that may be learnt from.
        test, test_windows: that are scored.
        encoder: of the method ``"pretrained"``; ``"scratch"`` is its twin with random weights.
        config: of each training.
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
    for count, seed, method in product(_counts(curve, len(units)), range(curve.seeds), methods):
        chosen = drawn_order(content, seed=seed)[:count]
        pixels = int(content[chosen].sum())
        jobs.append(_Job(method, tuple(units[at] for at in chosen), seed, pixels))
    for at, job in enumerate(jobs):
        row = known.get(_key(setting, job))
        if row is None:
            row = _trained_row(setting, job, _part(progress, at, len(jobs), job.name))
            if rows:
                _append(rows, row)
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


def points_of(rows: Sequence[CurveRow]) -> list[CurvePoint]:
    """Means over seeds with their intervals, in the order of the rows."""
    found = []
    for method, labels in dict.fromkeys((row.method, row.labels) for row in rows):
        scores = [
            row.mean_iou
            for row in rows
            if (row.method, row.labels) == (method, labels) and row.mean_iou is not None
        ]
        if not scores:
            continue
        mean, interval = float(np.mean(scores)), None
        if len(scores) > 1:
            t = _T[min(len(scores) - 1, len(_T)) - 1]
            half = t * float(np.std(scores, ddof=1)) / sqrt(len(scores))
            interval = (max(mean - half, 0.0), min(mean + half, 1.0))
        found.append(CurvePoint(method, labels, mean, interval, len(scores)))
    return found


def read_rows(path: Path) -> list[CurveRow]:
    """Finished trainings; a last line that a kill has torn is left out.

    Raises:
        OutputError: it is no such file.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(CurveRow)]
    text = path.read_text()
    lines = text.splitlines()
    if lines[:1] != [",".join(names)]:
        raise OutputError(
            f"{path} exists and holds no label curve; choose another name for the rows"
        )
    whole = text if text.endswith("\n") else text[: text.rindex("\n") + 1]
    try:
        found = [_row_of(words) for words in csv.DictReader(whole.splitlines())]
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged ({error}); choose another name for the rows"
        ) from error
    if whole != text:
        path.write_text(whole)
    return found


def _row_of(words: Mapping[str, str]) -> CurveRow:
    def share(name: str) -> float | None:
        return float(words[name]) if words[name] else None

    return CurveRow(
        method=words["method"],
        labels=int(words["labels"]),
        pixels=int(words["pixels"]),
        seed=int(words["seed"]),
        mean_iou=share("mean_iou"),
        low=share("low"),
        high=share("high"),
        seconds=float(words["seconds"]),
        note=words["note"],
        key=words["key"],
    )


def _append(path: Path, row: CurveRow) -> None:
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([field.name for field in fields(CurveRow)])
        writer.writerow(["" if value is None else value for value in astuple(row)])
        file.flush()
        os.fsync(file.fileno())


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


def _cell(point: CurvePoint) -> str:
    if point.interval is None:
        return f"{point.mean_iou:.3f}"
    return f"{point.mean_iou:.3f} ± {point.interval[1] - point.mean_iou:.3f}"
