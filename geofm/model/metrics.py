"""Scores from counts: a confusion matrix first, then IoU, F1 and their intervals."""

from collections.abc import Callable, Iterator
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
"""Confusion matrices (..., K, K): rows are labels, columns are predictions."""
Floats = NDArray[np.float64]
Interval = tuple[float, float]

MIN_BLOCKS = 10
"""Blocks below which an interval would be a guess."""
ROUNDS = 2000
# Elements of resampled matrices held at a time.
_CHUNK = 2**23


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


def precision(confusion: Counts) -> Floats:
    """Share of each predicted class that is labelled so (..., K); NaN where never predicted."""
    hits, _, mapped = _margins(confusion)
    return _ratio(hits, mapped)


def recall(confusion: Counts) -> Floats:
    """Share of each labelled class that is predicted so (..., K); NaN where never labelled."""
    hits, labelled, _ = _margins(confusion)
    return _ratio(hits, labelled)


def accuracy(confusion: Counts) -> Floats:
    """Share of the pixels (...) whose prediction is their label; NaN where there are none."""
    hits, labelled, _ = _margins(confusion)
    return _ratio(hits.sum(axis=-1), labelled.sum(axis=-1))


def mean_iou(confusion: Counts) -> Floats:
    """Mean IoU (...) over the classes labelled or predicted; NaN where there are none."""
    return _mean(iou(confusion))


def mean_f1(confusion: Counts) -> Floats:
    """Mean F1 (...) over the classes labelled or predicted; NaN where there are none."""
    return _mean(f1(confusion))


def bootstrap_interval(
    blocks: Counts,
    score: Callable[[Counts], Floats] = mean_iou,
    *,
    level: float = 0.95,
    rounds: int = ROUNDS,
    seed: int = 0,
    min_blocks: int = MIN_BLOCKS,
) -> Interval | None:
    """Interval of a score by drawing whole blocks anew; None with too few of them.

    Neighbouring pixels err together, so pixels are no sample of their own;
    blocks that lie apart are.

    Args:
        blocks: (blocks, K, K); those without a counted pixel are left out.
        score: from confusion matrices (..., K, K) to (...).
        level: share of the draws inside, before the widening of `interval_of`.
    """
    blocks = blocks[blocks.sum(axis=(1, 2)) > 0]
    if len(blocks) < min_blocks:
        return None
    scores = [score(drawn) for drawn in resampled(blocks, rounds=rounds, seed=seed)]
    return interval_of(np.concatenate(scores), blocks=len(blocks), level=level)


def resampled(
    blocks: NDArray[np.generic], *, rounds: int = ROUNDS, seed: int = 0
) -> Iterator[Counts]:
    """Sums over blocks drawn anew with replacement, (rounds, ...) in parts.

    The same seed and number of blocks draw the same blocks: scores of two models, or two
    scores of one, may be compared draw by draw.

    Args:
        blocks: (blocks, ...) counts, whole numbers.
    """
    count = len(blocks)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    flat = blocks.reshape(count, -1).astype(np.float64)  # exact to 2**53, and a fast product
    part = max(_CHUNK // flat.shape[1], 1)
    for first in range(0, rounds, part):
        sums = draws[first : first + part].astype(np.float64) @ flat
        yield sums.astype(np.int64).reshape(-1, *blocks.shape[1:])


def interval_of(draws: Floats, *, blocks: int, level: float = 0.95) -> Interval | None:
    """The interval that holds the middle of what was drawn; None where nothing is a number.

    The percentile interval is too narrow for few blocks: it takes the spread among n
    for that of a draw from n - 1 freedoms. Its ends are moved out to where a t
    interval's would lie (Hesterberg 2015, What Teachers Should Know About the Bootstrap,
    the expanded percentile interval).

    Args:
        draws: (rounds,) scores; NaN where a draw has none.
        blocks: how many were drawn from.
    """
    known = draws[~np.isnan(draws)]
    if not known.size:
        return None
    wide = sqrt(blocks / (blocks - 1)) * t_quantile((1 + level) / 2, blocks - 1)
    tail = NormalDist().cdf(-wide)
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def t_quantile(share: float, freedom: int) -> float:
    """Quantile of Student's t, to 0.001 from 9 degrees of freedom on.

    Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5).

    >>> round(t_quantile(0.975, 9), 3), round(t_quantile(0.975, 40), 3)
    (2.262, 2.021)
    """
    z = NormalDist().inv_cdf(share)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def _margins(confusion: Counts) -> tuple[Counts, Counts, Counts]:
    """Pixels (..., K) of each class: found, labelled, predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)


def _mean(scores: Floats) -> Floats:
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1))


def _ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """``part / whole`` in float64; NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
