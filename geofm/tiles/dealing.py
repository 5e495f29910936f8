"""Deal labelled places to roles so that each gets its share of every class."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geofm.errors import SplitError
from geofm.scenes.labels import Labels
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.area import cells
from geofm.tiles.splits import draw_places

TRAIN, VAL, TEST = 0, 1, 2

_READ = 2048
_TRIALS = 64

Counts = npt.NDArray[np.float64]
Dealt = npt.NDArray[np.int64]


class Shares(NamedTuple):
    """What part of the labels each role is to have; together 1."""

    train: float
    val: float
    test: float


def class_counts(labels: Labels, window: Window) -> Counts:
    """Labelled pixels of each class code, (255,)."""
    counts = np.zeros(IGNORE)
    for part in cells(window, size=_READ):
        counts += np.bincount(labels.read(part).ravel(), minlength=IGNORE + 1)[:IGNORE]
    return counts


def deal(counts: Counts, shares: Shares, *, seed: int, what: str) -> Dealt:
    """A role for each place: `TRAIN`, `VAL` or `TEST`; the unlabelled train.

    Of many draws the one is taken that spreads the classes best.

    Args:
        counts: (places, classes) labelled pixels.
        seed: of the draws.
        what: places are called in messages.

    Raises:
        SplitError: too few places are labelled.
    """
    counts = counts[:, counts.any(axis=0)]
    labelled = np.flatnonzero(counts.any(axis=1))
    needed = sum(share > 0 for share in shares)
    if len(labelled) < needed:
        raise SplitError(
            f"{len(labelled)} of {len(counts)} {what} are labelled; needed {needed} or more, one "
            "for each role; label more places, or choose smaller blocks"
        )
    content = counts[labelled] / counts.sum(axis=0)  # of each class
    rarest = content[:, np.argmin(counts.sum(axis=0))]
    best, least = np.zeros(len(labelled), np.int64), np.inf
    for trial in range(_TRIALS):
        random = np.random.default_rng([seed, len(labelled), trial])
        roles = _draw(rarest, shares, random)
        badness = _badness(content, roles, shares)
        if badness < least:
            best, least = roles, badness
    out = np.zeros(len(counts), np.int64)
    out[labelled] = best
    return out


def _draw(content: Counts, shares: Shares, random: np.random.Generator) -> Dealt:
    """Systematic sampling after sorting by content, so that each role gets full and empty ones."""
    order = random.permutation(len(content))
    order = order[np.argsort(-content[order], kind="stable")]
    roles = np.zeros(len(content), np.int64)
    rest = order
    for role, share, left in ((TEST, shares.test, 1.0), (VAL, shares.val, 1.0 - shares.test)):
        taken = draw_places(len(rest), share / left, random.random())
        if share > 0 and not taken.any():
            taken[random.integers(len(rest))] = True
        roles[rest[taken]] = role
        rest = rest[~taken]
    return roles


def _badness(content: Counts, roles: Dealt, shares: Shares) -> float:
    """Roles without a place count most, then classes that a role lacks, then shares missed."""
    total = 0.0
    for role, share in enumerate(shares):
        if share > 0:
            found = content[roles == role].sum(axis=0)
            total += 10 * float((found == 0).sum()) + float(np.abs(found - share).mean())
            total += 1e6 * float(not (roles == role).any())
    return total
