"""A curve of scores by number of labels: its settings, its rows in a file, its points."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from geofm.errors import ConfigError, OutputError

Method = Literal["pretrained", "scratch", "unet", "forest"]
METHODS: tuple[Method, ...] = ("pretrained", "scratch", "unet", "forest")
METHOD_NAMES: Mapping[str, str] = {
    "pretrained": "pretrained",
    "scratch": "from scratch",
    "unet": "U-Net",
    "forest": "random forest",
}
# Student's t, two-sided 95 %, by degrees of freedom from 1.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


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
        return "\n".join([head, *lines, self._caption()])

    def _caption(self) -> str:
        """What the numbers are, and what their intervals rest on."""
        seeds = len({row.seed for row in self.rows})
        if all(point.interval is None for point in self.points):
            return "mean IoU on the test ground, of one seed: no interval"
        return f"mean IoU on the test ground, over {seeds} seeds, with 95 % intervals"

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


def append_row(path: Path, row: CurveRow) -> None:
    """Write a finished training, safe from a kill."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([field.name for field in fields(CurveRow)])
        writer.writerow(["" if value is None else value for value in astuple(row)])
        file.flush()
        os.fsync(file.fileno())


def _cell(point: CurvePoint) -> str:
    if point.interval is None:
        return f"{point.mean_iou:.3f}"
    return f"{point.mean_iou:.3f} ± {point.interval[1] - point.mean_iou:.3f}"
