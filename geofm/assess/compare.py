"""Is one model better than another? Both on the same blocks, drawn and swapped together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geofm.assess.evaluate import Evaluation
from geofm.assess.scores import Estimate
from geofm.assess.slices import by_unit
from geofm.errors import LabelError, ModelError
from geofm.model.metrics import (
    MIN_BLOCKS,
    ROUNDS,
    Counts,
    Floats,
    interval_of,
    iou,
    mean_iou,
    resampled,
)


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The second model less the first, on the same pixels; ``print`` shows a table.

    A pixel that a model calls unsure counts by the class it holds back, so that saying
    less is no advantage.

    Attributes:
        first, second: names of the models.
        difference: of the mean IoU, -1 to 1; its interval draws the same blocks for both.
        classes: of the IoU of each class, by name.
        p: how often models that do not differ would differ at least so much: the
            outcomes of both are swapped at random within blocks. None with too few.
        blocks: groups, chips or blocks with a labelled pixel.
        note: what it rests on.
    """

    first: str
    second: str
    difference: Estimate
    classes: tuple[tuple[str, Estimate], ...]
    p: float | None
    blocks: int
    note: str

    def __str__(self) -> str:
        from geofm.assess.table import comparison_text  # which knows comparisons

        return comparison_text(self)

    __repr__ = __str__

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "first": self.first,
            "second": self.second,
            "mean_iou": self.difference.plain(),
            "classes": {name: estimate.plain() for name, estimate in self.classes},
            "p": None if self.p is None else round(self.p, 5),
            "blocks": self.blocks,
            "note": self.note,
        }


def paired_test(first: Evaluation, second: Evaluation, *, seed: int = 0) -> Comparison:
    """Compare two evaluations of the same pairs and windows.

    Raises:
        ModelError: the models map different classes.
        LabelError: they were not scored on the same pairs and windows.
    """
    if [kind.name for kind in first.classes] != [kind.name for kind in second.classes]:
        raise ModelError(
            f"{first.model} maps {', '.join(k.name for k in first.classes)} and {second.model} "
            f"{', '.join(k.name for k in second.classes)}; needed the same classes to compare them"
        )
    if first.parts != second.parts:
        raise LabelError(
            f"{first.model} and {second.model} were scored on different scenes or windows; "
            "evaluate both on the same pairs"
        )
    both = np.stack([_outcomes(first), _outcomes(second)], axis=1)
    both = both[both.sum(axis=(1, 2, 3)) > 0]
    count = len(both)
    found = _differences(both.sum(axis=0))
    intervals: Sequence[tuple[float, float] | None] = [None] * len(found)
    p = None
    if count >= MIN_BLOCKS:
        drawn = np.concatenate([_differences(sums) for sums in resampled(both, seed=seed)])
        intervals = [interval_of(column, blocks=count) for column in drawn.T]
        p = _swap_test(both, seed=seed)
    estimates = [
        Estimate(None) if np.isnan(value) else Estimate(float(value), interval)
        for value, interval in zip(found, intervals, strict=True)
    ]
    names = [kind.name for kind in first.classes]
    return Comparison(
        first=first.model,
        second=second.model,
        difference=estimates[0],
        classes=tuple(zip(names, estimates[1:], strict=True)),
        p=p,
        blocks=count,
        note=_note(first, second, count),
    )


def _outcomes(evaluation: Evaluation) -> Counts:
    unit = np.array([part.unit for part in evaluation.parts.parts])
    return np.asarray(by_unit(evaluation.tally.counts + evaluation.tally.withheld, unit))


def _differences(confusions: Counts) -> Floats:
    """Second less first of (..., 2, K, K): mean IoU, then the IoU of each class (..., 1 + K)."""
    scores = np.concatenate([mean_iou(confusions)[..., None], iou(confusions)], axis=-1)
    difference: Floats = scores[..., 1, :] - scores[..., 0, :]
    return difference


def _swap_test(both: Counts, *, seed: int) -> float:
    """Share of random swaps within blocks that part the means as far as they are (Good 2005).

    Args:
        both: (blocks, 2, K, K).
    """
    count, _, classes, _ = both.shape
    flat = both.reshape(count, 2, -1).astype(np.float64)
    random = np.random.default_rng([seed, count])
    seen = abs(_differences(both.sum(axis=0))[0])
    as_far = 0
    for _ in range(0, ROUNDS, 100):
        swapped = random.integers(0, 2, (100, count)).astype(np.float64)
        change = swapped @ (flat[:, 1] - flat[:, 0])
        sums = flat.sum(axis=0) + np.stack([change, -change], axis=1)
        parted = _differences(sums.astype(np.int64).reshape(100, 2, classes, classes))[:, 0]
        as_far += int((np.abs(parted) >= seen - 1e-12).sum())
    return (as_far + 1) / (ROUNDS + 1)


def _note(first: Evaluation, second: Evaluation, count: int) -> str:
    if count < MIN_BLOCKS:
        return (
            f"no interval: {count} {first.unit}s have labels, and fewer than {MIN_BLOCKS} say too "
            "little about the spread"
        )
    note = f"95 % interval by drawing the same {count} {first.unit}s for both"
    pixels = [int(each.tally.bins.sum()) for each in (first, second)]
    if pixels[0] != pixels[1]:
        note += f"; they map {pixels[0]:,} and {pixels[1]:,} of the labelled pixels"
    return note
