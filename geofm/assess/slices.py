"""Scores by what is known of the pairs, and of places with little or much of a class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.scores import Estimate, score_counts
from geofm.model.metrics import Counts
from geofm.scenes.catalog import Pair
from geofm.tasks import MapClass

# A fact of more values than these is a name rather than a kind.
_MOST_VALUES = 60
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Slice:
    """Scores of a part of the data.

    Attributes:
        fact, value: what tells it from the rest, such as region and Spain.
        pairs, blocks, pixels: how much it rests on.
    """

    fact: str
    value: str
    mean_iou: Estimate
    accuracy: Estimate
    pairs: int
    blocks: int
    pixels: int

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "fact": self.fact,
            "value": self.value,
            "mean_iou": self.mean_iou.plain(),
            "accuracy": self.accuracy.plain(),
            "pairs": self.pairs,
            "blocks": self.blocks,
            "pixels": self.pixels,
        }


def slices_of(
    counts: Counts,
    labelled: Counts,
    *,
    pair: npt.NDArray[np.int64],
    unit: npt.NDArray[np.int64],
    pairs: Sequence[Pair],
    classes: Sequence[MapClass],
    seed: int = 0,
) -> tuple[Slice, ...]:
    """Slices by each fact that tells pairs apart, and by class share; the worst first.

    Args:
        counts: (R, K, K) by part.
        labelled: (R, K) labelled pixels by part, with or without a class in the map.
        pair, unit: (R,) of each part.
    """
    found = []
    for fact, value, chosen in (*_by_fact(pair, pairs), *_by_share(labelled, classes)):
        here = by_unit(counts[chosen], unit[chosen])
        if here.sum() == 0:
            continue
        scores = score_counts(here, classes, seed=seed)
        number = len(np.unique(pair[chosen]))
        found.append(
            Slice(
                fact, value, scores.mean_iou, scores.accuracy, number, scores.blocks, scores.pixels
            )
        )
    return tuple(sorted(found, key=lambda s: (s.mean_iou.value or 0.0, s.fact, s.value)))


def by_unit(values: npt.NDArray[Any], unit: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Sums over the parts (R, ...) of each unit: (U, ...), units without a part left out."""
    units, at = np.unique(unit, return_inverse=True)
    sums = np.zeros((len(units), *values.shape[1:]), values.dtype)
    np.add.at(sums, at, values)
    return sums


def facts_of(pair: Pair) -> dict[str, str]:
    """What a pair is sliced by: its own facts, and the month of its last known date."""
    days = [day for day in pair.scene.dates if day is not None]
    month = {"month": f"{days[-1]:%Y-%m}"} if days and "date" not in pair.facts else {}
    return {**month, **{key: str(value) for key, value in pair.facts.items()}}


def _by_fact(
    pair: npt.NDArray[np.int64], pairs: Sequence[Pair]
) -> Iterator[tuple[str, str, Bools]]:
    facts: list[Mapping[str, str]] = [facts_of(each) for each in pairs]
    scored = [facts[at] for at in np.unique(pair)]
    for fact in dict.fromkeys(key for known in scored for key in known):
        values = sorted({known[fact] for known in scored if known.get(fact)})
        if not 2 <= len(values) <= _MOST_VALUES:
            continue
        for value in values:
            yield fact, value, np.array([facts[at].get(fact) == value for at in pair])


def _by_share(labelled: Counts, classes: Sequence[MapClass]) -> Iterator[tuple[str, str, Bools]]:
    """Parts without a class, with a little of it, and with much: above their middle share."""
    total = labelled.sum(axis=1)
    shares = labelled / np.maximum(total, 1)[:, None]
    for k, kind in enumerate(classes):
        if len(classes) == 2 and k == 0:
            continue  # what the other class leaves
        some = (shares[:, k] > 0) & (shares[:, k] < 1)
        if some.sum() < 2:
            continue
        middle = float(np.median(shares[some, k]))
        fact = f"share of {kind.name}"
        yield fact, "none", (shares[:, k] == 0) & (total > 0)
        yield fact, f"up to {middle:.1%}", (shares[:, k] > 0) & (shares[:, k] <= middle)
        yield fact, f"over {middle:.1%}", shares[:, k] > middle
