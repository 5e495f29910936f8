"""Scores from counts: a confusion matrix first, then IoU, F1 and their intervals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
"""Confusion matrices (..., K, K): rows are labels, columns are predictions."""
Floats = NDArray[np.float64]

MIN_BLOCKS = 10
"""Blocks below which an interval would be a guess."""


def confusion_matrix(predicted: ArrayLike, target: ArrayLike, *, classes: int) -> Counts:
    """Count pixels by label (row) and prediction (column): (K, K).

    Pixels whose label or prediction is a code (ignore, unsure, masked, no
    data) and no class are left out; the caller says how many they are.

    Args:
        predicted, target: class codes of one shape, integers from 0.
    """
    predicted, target = np.asarray(predicted), np.asarray(target)
    assert predicted.shape == target.shape, (predicted.shape, target.shape)
    counted = (target < classes) & (predicted < classes)
    pairs = target[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(confusion: Counts) -> Floats:
    """Intersection over union (..., K); NaN for a class neither labelled nor predicted."""
    hits, labelled, mapped = _margins(confusion)
    return _ratio(hits, labelled + mapped - hits)


def f1(confusion: Counts) -> Floats:
    """F1 score (..., K); NaN for a class neither labelled nor predicted."""
    hits, labelled, mapped = _margins(confusion)
    return _ratio(2 * hits, labelled + mapped)


def mean_iou(confusion: Counts) -> Floats:
    """Mean IoU (...) over the classes labelled or predicted; NaN where there are none."""
    scores = iou(confusion)
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1))


def bootstrap_interval(
    blocks: Counts,
    score: Callable[[Counts], Floats] = mean_iou,
    *,
    level: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
    min_blocks: int = MIN_BLOCKS,
) -> tuple[float, float] | None:
    """Interval of a score by drawing whole blocks anew; None with too few of them.

    Neighbouring pixels err together, so pixels are no sample of their own;
    blocks that lie apart are (Efron and Tibshirani 1993, the percentile interval).

    Args:
        blocks: (blocks, K, K); those without a counted pixel are left out.
        score: from confusion matrices (..., K, K) to (...).
        level: share of the draws inside.
    """
    blocks = blocks[blocks.sum(axis=(1, 2)) > 0]
    count = len(blocks)
    if count < min_blocks:
        return None
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    scores = score(np.tensordot(draws, blocks, axes=1))
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _margins(confusion: Counts) -> tuple[Counts, Counts, Counts]:
    """Pixels (..., K) of each class: found, labelled, predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)


def _ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """``part / whole`` in float64; NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
