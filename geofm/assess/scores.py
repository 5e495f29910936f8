"""Counts of what is drawn anew -> scores with intervals, none of them NaN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geofm.model.metrics import (
    MIN_BLOCKS,
    Counts,
    Floats,
    Interval,
    accuracy,
    f1,
    interval_of,
    iou,
    mean_f1,
    mean_iou,
    precision,
    recall,
    resampled,
)
from geofm.tasks import MapClass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score from 0 to 1.

    Attributes:
        value: None where it is not defined, such as the precision of a class never mapped.
        interval: that holds the true value in 95 of 100 such samples; None with too few.
    """

    value: float | None
    interval: Interval | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        interval = None if self.interval is None else [round(end, 6) for end in self.interval]
        return {
            "value": None if self.value is None else round(self.value, 6),
            "interval": interval,
        }


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is found.

    Attributes:
        iou, f1: None for a class neither labelled nor mapped; 0 for one only labelled or
            only mapped.
        precision: share of the mapped pixels that are labelled so; None if never mapped.
        recall: share of the labelled pixels that are mapped so; None if never labelled.
        labelled, mapped: pixels.
    """

    name: str
    color: str
    iou: Estimate
    f1: Estimate
    precision: Estimate
    recall: Estimate
    labelled: int
    mapped: int

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        names = ("iou", "f1", "precision", "recall")
        return {
            "name": self.name,
            **{name: getattr(self, name).plain() for name in names},
            "labelled": self.labelled,
            "mapped": self.mapped,
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one set of counts.

    Attributes:
        mean_iou, mean_f1: over the classes that are labelled or mapped.
        accuracy: share of the pixels that are right.
        blocks: groups, chips or blocks with a scored pixel.
        pixels: scored.
    """

    mean_iou: Estimate
    mean_f1: Estimate
    accuracy: Estimate
    classes: tuple[ClassScore, ...]
    blocks: int
    pixels: int


def score_counts(counts: Counts, classes: Sequence[MapClass], *, seed: int = 0) -> Scores:
    """Scores of confusion matrices with intervals, by drawing whole matrices anew.

    Args:
        counts: (U, K, K), one matrix for each group, chip or block; those without a pixel
            are left out.
    """
    counts = counts[counts.sum(axis=(1, 2)) > 0]
    total = counts.sum(axis=0)
    values = _all(total)
    intervals: list[Interval | None] = [None] * len(values)
    if len(counts) >= MIN_BLOCKS:
        drawn = np.concatenate([_all(sums) for sums in resampled(counts, seed=seed)])
        intervals = [interval_of(column, blocks=len(counts)) for column in drawn.T]
    estimates = [
        Estimate(None) if np.isnan(value) else Estimate(float(value), interval)
        for value, interval in zip(values, intervals, strict=True)
    ]
    count = len(classes)
    ious, f1s, precisions, recalls = (estimates[3 + i * count :][:count] for i in range(4))
    return Scores(
        mean_iou=estimates[0],
        mean_f1=estimates[1],
        accuracy=estimates[2],
        classes=tuple(
            ClassScore(
                name=kind.name,
                color=kind.color,
                iou=ious[k],
                f1=f1s[k],
                precision=precisions[k],
                recall=recalls[k],
                labelled=int(total[k].sum()),
                mapped=int(total[:, k].sum()),
            )
            for k, kind in enumerate(classes)
        ),
        blocks=len(counts),
        pixels=int(total.sum()),
    )


def _all(confusion: Counts) -> Floats:
    """Every score of confusion matrices (..., K, K): (..., 3 + 4 K)."""
    means = np.stack([score(confusion) for score in (mean_iou, mean_f1, accuracy)], axis=-1)
    return np.concatenate(
        [means, *(score(confusion) for score in (iou, f1, precision, recall))], axis=-1
    )
