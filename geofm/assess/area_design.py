"""How many reference points a map needs, where they go, and the points themselves.

Sizes and shares after Cochran (1977, Sampling Techniques, ch. 5) and Olofsson et al. (2014,
doi 10.1016/j.rse.2014.02.015, eq. 13). Pixels are drawn at random inside each stratum, with a
chance in proportion to their area, because pixels in degrees are not of one size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt

from geofm.assess.classmap import ClassMap, Ground, Progress, Stratum, walk
from geofm.errors import ConfigError
from geofm.tasks import UNSURE

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Allocation = Literal["neyman", "proportional"]

EXPECTED_ACCURACY = 0.8
OVERALL_ERROR, AREA_ERROR = 0.02, 0.1
MINIMUM = 50
"""Points of a rare class; Olofsson et al. advise 50 to 100."""
_SKEWNESS = 0.2
"""Of an estimate, up to which a normal interval holds: Cochran's n > 25 G1^2 (1977, eq. 2.24)."""
_MOST_POINTS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignConfig:
    """What a reference shall be good for.

    Attributes:
        standard_error: that is wanted: of the overall accuracy (None: 0.02), or of the
            area of a class as a share of it (None: 0.1).
        area_of: the class whose area is wanted; None for the overall accuracy.
        accuracy: the share of each class on the map that is expected to be right
            (user's accuracy), by name; 0.8 where nothing is said.
        allocation: of points to strata: ``"neyman"`` gives more to strata that are large
            and expected to be mixed, ``"proportional"`` goes by area alone.
        minimum: points in each stratum, though it be small.
        points: in all, instead of what ``standard_error`` asks for.
        seed: of the draw.

    Raises:
        ConfigError: a value is out of range.
    """

    standard_error: float | None = None
    area_of: str | None = None
    accuracy: Mapping[str, float] | None = None
    allocation: Allocation = "neyman"
    minimum: int = MINIMUM
    points: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.standard_error is not None and not 0 < self.standard_error < 1:
            raise ConfigError(
                f"standard_error is {self.standard_error:g}; needed a share above 0 and below 1, "
                "such as 0.02"
            )
        for name, share in (self.accuracy or {}).items():
            if not 0 <= share <= 1:
                raise ConfigError(
                    f"the expected accuracy of {name} is {share:g}; needed a share, 0 to 1"
                )
        if self.allocation not in ("neyman", "proportional"):
            raise ConfigError(f"allocation is {self.allocation!r}; needed neyman or proportional")
        if self.minimum < 2:
            raise ConfigError(
                f"minimum is {self.minimum}; a standard error needs 2 points in each stratum"
            )
        if self.points is not None and self.points < 2:
            raise ConfigError(f"points is {self.points}; needed 2 or more")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; needed 0 or more")


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """How many points, and what they are expected to tell.

    Attributes:
        needed: for the standard error, by formula; or as many as were asked for.
        counts: (strata,) points of each; more than ``needed`` where strata had less than
            the minimum, and fewer where a stratum has no more pixels.
        overall_error: expected standard error of the overall accuracy.
        area_errors: expected standard error of each class's area, hectares, by name.
        for_intervals: points in all that a normal interval of each class's area wants,
            by name.
    """

    needed: int
    counts: Ints
    overall_error: float
    area_errors: Mapping[str, float]
    for_intervals: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Pixels of a sample, in random order.

    Attributes:
        rows, cols: (n,) of the map's grid.
        codes: (n,) the map's.
        probabilities: (n,) that the pixel is in such a sample.
    """

    rows: Ints
    cols: Ints
    codes: Ints
    probabilities: Doubles


def sample_size(ground: Ground, classes: Mapping[int, str], config: DesignConfig) -> Size:
    """The points that a target needs, by stratum.

    With Neyman's allocation, the points for an overall accuracy are those of Olofsson et
    al. (2014), eq. 13. For the area of a class, what a stratum holds of other classes is
    expected to be shared evenly among them, and there are as many points as its interval
    needs to hold what it claims. Strata below the minimum are raised to it on top, so
    that the target stays met.

    Args:
        classes: names by code, of the map's legend.

    Raises:
        ConfigError: a class that the map does not have, or a target beyond reach.
    """
    strata = ground.strata
    weights = np.array([stratum.square_metres for stratum in strata]) / ground.square_metres
    names = list(dict.fromkeys([*classes.values(), *(s.name for s in strata if s.code != UNSURE)]))
    _check_names(config, names, strata)
    expected = _expected(strata, names, config.accuracy or {})
    right = np.array([_right(expected[at], stratum, names) for at, stratum in enumerate(strata)])
    share, goal = right, config.standard_error or OVERALL_ERROR
    if config.area_of is not None:
        share = expected[:, names.index(config.area_of)]
        mapped = weights[[stratum.name == config.area_of for stratum in strata]].sum()
        goal = (config.standard_error or AREA_ERROR) * (mapped or float(weights @ share))
    spread = np.sqrt(share * (1 - share))
    parts = _parts(weights, spread, config.allocation)
    pixels = sum(stratum.pixels for stratum in strata)
    needed = config.points or _needed(weights, spread, parts, goal, pixels)
    if config.points is None and config.area_of is not None:
        needed = max(needed, _for_interval(weights, share, parts))
    if needed > _MOST_POINTS:
        raise ConfigError(
            f"a standard error of {goal:.2g} needs {needed:,} points; ask for a larger one"
        )
    counts = np.maximum(_rounded(parts * needed), config.minimum)
    counts = np.array(
        [_possible(n, stratum) for n, stratum in zip(counts.tolist(), strata, strict=True)]
    )
    rest = 1 - counts / np.array([stratum.pixels for stratum in strata])  # a census has no error

    def error(share: Doubles) -> float:
        return float(np.sqrt((weights**2 * share * (1 - share) / counts * rest).sum()))

    hectares = ground.square_metres / 1e4
    shares = dict(zip(names, expected.T, strict=True))
    now = counts / counts.sum()
    return Size(
        needed=needed,
        counts=counts,
        overall_error=error(right),
        area_errors={name: error(share) * hectares for name, share in shares.items()},
        for_intervals={name: _for_interval(weights, s, now) for name, s in shares.items()},
    )


def draw(
    opened: ClassMap,
    strata: Sequence[Stratum],
    counts: Sequence[int],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Drawn:
    """Draw pixels at random in each stratum, without replacement.

    A pixel's chance is in proportion to its area (Rosen 1997, Pareto sampling, doi
    10.1016/S0378-3758(96)00186-3; where pixels are of one size it is simple random
    sampling). One pass over the map; the same seed draws the same pixels, however the
    map is stored.

    Args:
        counts: pixels of each stratum.
    """
    chance = np.zeros(256)
    for stratum, count in zip(strata, counts, strict=True):
        # Of a square metre; infinite where a stratum is taken whole.
        whole = count == stratum.pixels
        chance[stratum.code] = np.inf if whole else count / stratum.square_metres
    highest = np.zeros(256)
    for stratum in strata:
        highest[stratum.code] = min(chance[stratum.code] * stratum.largest, 1.0)
    wanted = {stratum.code: count for stratum, count in zip(strata, counts, strict=True)}
    limit = np.where(chance > 0, np.inf, -1.0)  # rank of the last that is kept
    kept = {code: np.empty((4, 0)) for code in wanted}  # rank, row, column, probability
    for window, codes, areas in walk(opened, progress, "drawing points"):
        luck = np.stack(
            [
                # A row's numbers follow from the seed and the row, not from the strip.
                np.random.default_rng([seed, row]).random(window.width)
                for row in range(window.row, window.stop_row)
            ]
        )
        # Most have no chance to be kept: no pixel of the stratum with so much luck has.
        rows, cols = np.nonzero((luck <= _luckiest(limit, highest)[codes]) & (areas > 0))
        at, luck = codes[rows, cols], luck[rows, cols]
        likely = np.minimum(areas[rows, cols] * chance[at], 1.0)
        rank = luck * (1 - likely) / ((1 - luck) * likely)
        found = np.stack([rank, rows + window.row, cols, likely])
        for code in np.unique(at):
            both = np.concatenate([kept[code], found[:, at == code]], axis=1)
            order = np.argsort(both[0], kind="stable")[: wanted[code]]
            kept[code] = both[:, order]
            if both.shape[1] >= wanted[code]:
                limit[code] = kept[code][0, -1]
    table = np.concatenate(list(kept.values()), axis=1)
    code_of = np.repeat(list(kept), [part.shape[1] for part in kept.values()])
    order = np.random.default_rng([seed, 2**32]).permutation(table.shape[1])
    return Drawn(
        rows=table[1, order].astype(np.int64),
        cols=table[2, order].astype(np.int64),
        codes=code_of[order].astype(np.int64),
        probabilities=table[3, order],
    )


def _luckiest(limit: Doubles, highest: Doubles) -> Doubles:
    """Numbers up to which a pixel may still be kept, by code: those of its largest pixel."""
    with np.errstate(invalid="ignore", divide="ignore"):
        odds = limit * highest / (1 - highest)
        bound = np.where(np.isfinite(odds), odds / (1 + odds), 1.0)
    return np.where(highest > 0, bound, -1.0)


def _check_names(config: DesignConfig, names: Sequence[str], strata: Sequence[Stratum]) -> None:
    known = [*names, *(stratum.name for stratum in strata if stratum.code == UNSURE)]
    asked = [*(config.accuracy or {}), *([config.area_of] if config.area_of else [])]
    if unknown := [name for name in asked if name not in known]:
        raise ConfigError(
            f"the map has no class {', '.join(unknown)}; its classes are {', '.join(known)}"
        )
    if config.area_of is not None and config.area_of not in names:
        raise ConfigError(
            f"{config.area_of} is no class, so it has no area of its own; name one of "
            f"{', '.join(names)}"
        )


def _expected(
    strata: Sequence[Stratum], names: Sequence[str], accuracy: Mapping[str, float]
) -> Doubles:
    """Shares (strata, classes) of the reference classes expected in each stratum."""
    table = np.empty((len(strata), len(names)))
    for row, stratum in zip(table, strata, strict=True):
        if stratum.code == UNSURE:
            row[:] = 1 / len(names)
            continue
        right = accuracy.get(stratum.name, EXPECTED_ACCURACY)
        row[:] = (1 - right) / max(len(names) - 1, 1)
        row[names.index(stratum.name)] = right
    return table


def _right(shares: Doubles, stratum: Stratum, names: Sequence[str]) -> float:
    """The share expected to be right; unsure ground is neither right nor wrong."""
    return 0.0 if stratum.code == UNSURE else float(shares[names.index(stratum.name)])


def _parts(weights: Doubles, spread: Doubles, allocation: Allocation) -> Doubles:
    parts = weights * spread if allocation == "neyman" else weights
    # Where no error is expected anywhere, Neyman knows no better than area.
    return parts / parts.sum() if parts.any() else weights


def _needed(weights: Doubles, spread: Doubles, parts: Doubles, goal: float, pixels: int) -> int:
    """Cochran 1977, eq. 5.25 for any allocation; with Neyman's, Olofsson's eq. 13."""
    used = parts > 0
    variance = float((weights[used] ** 2 * spread[used] ** 2 / parts[used]).sum())
    return max(ceil(variance / (goal**2 + float(weights @ spread**2) / pixels) - 1e-9), 2)


def _for_interval(weights: Doubles, share: Doubles, parts: Doubles) -> int:
    """Points with which the estimate's skewness leaves a normal interval what it claims."""
    used = (parts > 0) & (share > 0) & (share < 1)
    if not used.any():
        return 2
    w, p, part = weights[used], share[used], parts[used]
    second = (w**2 * p * (1 - p) / part).sum()
    third = abs((w**3 * p * (1 - p) * (1 - 2 * p) / part**2).sum())
    return max(ceil(float(third / second**1.5 / _SKEWNESS) ** 2), 2)


def _rounded(parts: Doubles) -> Ints:
    """Whole numbers of the same sum, each next to its part."""
    whole = np.floor(parts).astype(np.int64)
    left = round(float(parts.sum())) - int(whole.sum())
    whole[np.argsort(whole - parts, kind="stable")[:left]] += 1
    return whole


def _possible(count: int, stratum: Stratum) -> int:
    """As many, or the whole stratum where so many leave no choice among its pixels."""
    if count * stratum.largest >= stratum.square_metres:
        return stratum.pixels
    return count
