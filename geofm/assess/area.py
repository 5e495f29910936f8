"""How much ground of each class there really is: a map corrected by a reference sample.

Counting pixels of a map counts its errors too. A reference, points drawn at random in the map's
strata and labelled by people, tells how often each class is mistaken for each other, and with
that the area of each class without bias, and how sure it is. The estimators are those of
Stehman (2014, doi 10.1080/01431161.2014.930207), which are Olofsson et al.'s (2014, doi
10.1016/j.rse.2014.02.015) where the strata are the map's own classes. Weights are areas on the
ellipsoid, not counts of pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geofm.assess.area_design import DesignConfig, Size, draw, sample_size
from geofm.assess.classmap import (
    ClassMap,
    Ground,
    Progress,
    Stratum,
    measure_ground,
    open_class_map,
    trained_within,
)
from geofm.assess.reference import Reference, check_points_output, read_reference, write_points
from geofm.errors import LabelError, SplitError
from geofm.scenes.window import Window
from geofm.tasks import MASKED, UNSURE

LEVEL = 0.95
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
_SKEWNESS = 0.2
_SAME_GROUND = 1e-6
_SMALL = 0.05
"""Share of a stratum up to which a sample is taken as of an endless one (Cochran 1977, 2.6)."""

Codes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that a sample tells, and how sure it is.

    Attributes:
        standard_error: in the same unit.
        interval: 95 %, within what is possible.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]

    @property
    def margin(self) -> float:
        """Half the 95 % interval, as in "21,158 ha plus or minus 6,158 ha"."""
        return _Z * self.standard_error


@dataclass(frozen=True, slots=True)
class ClassArea:
    """One class.

    Attributes:
        mapped: what the map shows of it, hectares.
        area: what there is of it, hectares.
        users: share of what is mapped as it that is it (user's accuracy, precision);
            None where no point lies on it.
        producers: share of it that is mapped as it (producer's accuracy, recall); None
            where the reference has none of it.
        points: that the reference gives this class.
    """

    name: str
    mapped: float
    area: Estimate
    users: Estimate | None
    producers: Estimate | None
    points: int


@dataclass(frozen=True, slots=True, eq=False)
class AreaEstimate:
    """How much ground of each class there is, and how right the map is.

    Attributes:
        classes: in the order of their codes.
        overall: overall accuracy: the share of the ground with a class whose class is right.
        hectares: of all ground that the map shows, which the areas share out.
        confusion: (rows, K) points; rows are what the map says (`rows`), columns the
            reference's classes.
        rows: names of the confusion's rows; the last is "unsure" where the map has it.
        points: that were used.
        masked, unmeasured: hectares that the map does not show, and nothing is said of.
        notes: sentences on what else a reader must know.
    """

    classes: tuple[ClassArea, ...]
    overall: Estimate
    hectares: float
    confusion: Ints
    rows: tuple[str, ...]
    points: int
    masked: float
    unmeasured: float
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> ClassArea:
        """A class by its name."""
        return next(kind for kind in self.classes if kind.name == name)

    def __str__(self) -> str:
        width = max(len(kind.name) for kind in self.classes)
        head = f"{'':{width}}  {'mapped ha':>14}  {'area ha':>14}  {'95 %':>14}"
        lines = [f"{head}  user's accuracy  producer's accuracy"]
        lines += [
            f"{kind.name:{width}}  {kind.mapped:14,.1f}  {kind.area.value:14,.1f}  "
            f"± {kind.area.margin:12,.1f}  {_share(kind.users):>15}  {_share(kind.producers):>19}"
            for kind in self.classes
        ]
        lines.append(
            f"overall accuracy {_share(self.overall)}, from {self.points} points on "
            f"{self.hectares:,.1f} ha; not shown: {self.masked:,.1f} ha masked, "
            f"{self.unmeasured:,.1f} ha without data"
        )
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__


@dataclass(frozen=True, slots=True, eq=False)
class AreaDesign:
    """A reference that was drawn, to be labelled.

    Attributes:
        path: of the points.
        strata: what the map shows.
        size: points needed, of each stratum, and what they are expected to tell.
        masked, unmeasured: hectares that the map does not show.
    """

    path: Path
    strata: tuple[Stratum, ...]
    size: Size
    masked: float
    unmeasured: float

    @property
    def points(self) -> int:
        """Written, of all strata."""
        return int(self.size.counts.sum())


def design_area(
    source: Any,
    output: str | Path,
    *,
    config: DesignConfig | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AreaDesign:
    """Draw the points that a map's areas need, and write them to be labelled.

    Args:
        source: as `open_class_map`.
        output: ``.gpkg``, ``.parquet`` or ``.csv``; ``.design.json`` comes beside it.
        overwrite: replace points that exist, and what was labelled in them.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the map shows no class.
        ConfigError: a class of the config is none of the map, or too much is asked.
        OutputError: the output exists, or cannot be written.
    """
    config, out = config or DesignConfig(), Path(output)
    check_points_output(out, overwrite=overwrite)
    opened = open_class_map(source)
    ground = measure_ground(opened, _part(progress, 0.0, 0.5))
    size = sample_size(ground, opened.classes, config)
    drawn = draw(
        opened,
        ground.strata,
        size.counts.tolist(),
        seed=config.seed,
        progress=_part(progress, 0.5, 1.0),
    )
    write_points(out, opened, ground, drawn)
    return AreaDesign(out, ground.strata, size, ground.masked / 1e4, ground.unmeasured / 1e4)


def estimate_area(
    source: Any,
    reference: str | Path,
    *,
    column: str = "reference",
    skip_unlabelled: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> AreaEstimate:
    """Estimate the area of each class of a map from a labelled reference sample.

    Args:
        source: as `open_class_map`.
        reference: points that `design_area` drew, labelled; or others with a column
            ``inclusion_probability``, drawn at random from the whole map or in its classes.
        column: of the labels: names of classes, or their codes.
        skip_unlabelled: leave points without a label out, as if chance had chosen them.
        provenance: of the model, where no receipt beside the map tells its training
            footprint.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the reference is no random sample of the map, or not labelled so that
            it tells every stratum.
        SplitError: points lie where the model was trained, and were not drawn since.
    """
    opened = open_class_map(source)
    if provenance is not None:
        opened = trained_within(opened, provenance)
    points = read_reference(Path(reference), opened, column=column)
    here = _AtPoints(points)
    ground = measure_ground(opened, progress, visit=here.visit)
    notes = _check_independence(opened, ground, points)
    here.check(opened)
    sample = _sample(opened, ground, here, skip_unlabelled=skip_unlabelled)
    if sample.skipped:
        notes.append(
            f"{sample.skipped} points without a label were left out, as if chance had chosen "
            "them; if they are the hard ones, the map looks better than it is"
        )
    return _estimate(sample, ground, notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Points as numbers.

    Attributes:
        names: K classes.
        mapped: (n,) class on the map, K for unsure.
        truth: (n,) class of the reference.
        stratum: (n,) index into ``metres``.
        metres: (H,) of each stratum, square metres.
        weights: (n,) square metres that a point stands for.
        left: (n,) share of the variance that a stratum of so few pixels leaves; 0 for one
            that is taken whole.
        skipped: points without a label.
    """

    names: tuple[str, ...]
    mapped: Ints
    truth: Ints
    stratum: Ints
    metres: Doubles
    weights: Doubles
    left: Doubles
    skipped: int

    def ratio(self, part: Doubles, whole: Doubles) -> tuple[float, float] | None:
        """A ratio of two totals and its standard error (Stehman 2014, eq. 27 and 28).

        Args:
            part, whole: (n,) of each point.

        Returns:
            None where the whole is nothing.
        """
        total = self.total(whole)
        if total <= 0:
            return None
        value = self.total(part) / total
        return value, float(np.sqrt(self.moment(part - value * whole, 2))) / total

    def total(self, values: Doubles) -> float:
        """Square metres, of the means of each stratum."""
        return float(sum(m * self._mean(values, h) for h, m in enumerate(self.metres)))

    def moment(self, values: Doubles, power: int) -> float:
        """The total's second or third central moment.

        A stratum's second is that of a weighted mean; with equal weights it is s^2 / n.
        """
        found = 0.0
        for h, metres in enumerate(self.metres):
            here = self.stratum == h
            share = self.weights[here] / self.weights[here].sum()
            off = share * (values[here] - self._mean(values, h))
            count = here.sum()
            if count > 1:
                scale = count / (count - 1) if power == 2 else 1.0
                found += metres**power * scale * float((self.left[here] * off**power).sum())
        return found

    def _mean(self, values: Doubles, h: int) -> float:
        here = self.stratum == h
        return float(np.average(values[here], weights=self.weights[here]))


class _AtPoints:
    """What the map says at each point, picked while its strips pass by.

    Attributes:
        codes: (n,) the map's; masked where a point is off the map.
        areas: (n,) of its pixel, square metres.
    """

    def __init__(self, points: Reference) -> None:
        self.points = points
        self.codes = np.full(len(points.rows), MASKED, np.int64)
        self.areas = np.zeros(len(points.rows))

    def visit(self, window: Window, codes: Codes, areas: Doubles) -> None:
        """Look at the points of a strip of whole rows."""
        rows, cols = self.points.rows - window.row, self.points.cols
        inside = (rows >= 0) & (rows < window.height) & (cols >= 0) & (cols < window.width)
        self.codes[inside] = codes[rows[inside], cols[inside]]
        self.areas[inside] = areas[rows[inside], cols[inside]]

    def check(self, opened: ClassMap) -> None:
        """Refuse points off the ground that the map shows."""
        lost = [self.points.ids[at] for at in np.flatnonzero(self.codes >= MASKED)]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise LabelError(
                f"{len(lost)} of {len(self.codes)} points of {self.points.name} "
                f"({', '.join(lost[:5])}{more}) lie off the map, or where it is masked or has no "
                f"data; needed points on what {opened.name} shows; leave them out, or draw points "
                "from it"
            )


def _check_independence(opened: ClassMap, ground: Ground, points: Reference) -> list[str]:
    """Refuse points that may have taught the model; tell what could not be checked."""
    fresh = points.design is not None and points.design.digest == ground.digest
    if opened.training is None:
        if fresh:  # drawn from this very map, so labelled after its model was trained
            return []
        return [
            "where the model was trained is not known (no receipt of this map beside it), so "
            "nobody checked that these points are none of its labels"
        ]
    inside = shapely.contains_xy(opened.training, points.lon, points.lat)
    if not inside.any():
        return []
    if fresh:
        return [
            f"{int(inside.sum())} of {len(inside)} points lie where the model was trained; they "
            "were drawn from this map, after training, and label the ground that the map shows, "
            "but say nothing of ground it has never seen"
        ]
    raise SplitError(
        f"{int(inside.sum())} of {len(inside)} points of {points.name} lie where the map's model "
        "was trained, and may be labels that it has seen; needed points that were drawn from this "
        "map; draw them with `geofm area design`"
    )


def _sample(opened: ClassMap, ground: Ground, here: _AtPoints, *, skip_unlabelled: bool) -> _Sample:
    points, codes = here.points, here.codes
    legend = {**opened.classes, **{s.code: s.name for s in ground.strata if s.code != UNSURE}}
    class_codes = sorted(legend)
    labelled = np.array([label is not None for label in points.labels])
    if not labelled.any():
        raise LabelError(
            f"no point of {points.name} is labelled; write the class that you see into its column "
            f"of labels ({', '.join(legend[code] for code in class_codes)})"
        )
    if not labelled.all() and not skip_unlabelled:
        raise LabelError(
            f"{(~labelled).sum()} of {len(labelled)} points of {points.name} have no label; label "
            "them, or leave them out as if chance had chosen them (--skip-unlabelled)"
        )
    truth = _truth(points, legend, class_codes)
    strata, metres = _strata(ground, points, codes)
    keep = np.flatnonzero(labelled)
    found = _Sample(
        names=tuple(legend[code] for code in class_codes),
        mapped=np.searchsorted(class_codes, codes)[keep],
        truth=truth[keep],
        stratum=strata[keep],
        metres=np.array([stratum.square_metres for stratum in metres]),
        weights=(here.areas / points.probabilities)[keep],
        left=np.where(points.probabilities > _SMALL, 1 - points.probabilities, 1.0)[keep],
        skipped=int((~labelled).sum()),
    )
    for h, stratum in enumerate(metres):
        of_it = found.stratum == h
        whole = of_it.any() and not found.left[of_it].any()  # all its pixels
        if of_it.sum() < 2 and not whole:
            raise LabelError(
                f"{stratum.name} ({stratum.hectares:,.1f} ha on the map) has "
                f"{int(of_it.sum())} labelled points; a standard error needs 2 or more in each "
                "class of the map; draw more there with `geofm area design`"
            )
    return found


def _truth(points: Reference, legend: Mapping[int, str], class_codes: Sequence[int]) -> Ints:
    """Index of each point's class; -1 where it has no label."""
    by_name = {name.casefold(): class_codes.index(code) for code, name in legend.items()}
    by_code = {str(code): at for at, code in enumerate(class_codes)}
    known = {**by_code, **by_name}
    words = [None if label is None else _word(label) for label in points.labels]
    unknown = sorted({word for word in words if word is not None and word not in known})
    if unknown:
        raise LabelError(
            f"{points.name} holds the labels {', '.join(unknown[:5])}, which are no class of the "
            f"map; its classes are {', '.join(legend[code] for code in class_codes)}"
        )
    return np.array([-1 if word is None else known[word] for word in words], np.int64)


def _word(label: Any) -> str:
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if whole else label).strip().casefold()


def _strata(ground: Ground, points: Reference, codes: Ints) -> tuple[Ints, tuple[Stratum, ...]]:
    """The stratum of each point, and the strata it was drawn in.

    Those of its design; for a reference of one's own, the classes of the map.
    """
    strata, drawn_in = ground.strata, codes
    if points.design is not None and points.drawn_in is not None:
        strata, drawn_in = points.design.strata, points.drawn_in
        drawn = sum(stratum.square_metres for stratum in strata)
        if abs(drawn - ground.square_metres) > _SAME_GROUND * drawn:
            raise LabelError(
                f"{points.name} was drawn from a map of {drawn / 1e4:,.1f} ha, and this one shows "
                f"{ground.square_metres / 1e4:,.1f} ha; needed a map of the same ground; draw "
                "points from this map"
            )
    place = {stratum.code: h for h, stratum in enumerate(strata)}
    return np.array([place[int(code)] for code in drawn_in], np.int64), strata


def _estimate(sample: _Sample, ground: Ground, notes: list[str]) -> AreaEstimate:
    total, everything = float(sample.metres.sum()), np.ones(len(sample.truth))
    shown = {stratum.name: stratum.hectares for stratum in ground.strata}
    kinds = []
    for k, name in enumerate(sample.names):
        is_k, says_k = (sample.truth == k).astype(float), (sample.mapped == k).astype(float)
        share = sample.ratio(is_k, everything)
        assert share is not None, "there are points"
        kinds.append(
            ClassArea(
                name=name,
                mapped=shown.get(name, 0.0),
                area=_estimate_of(share, unit=total / 1e4),
                users=_accuracy(sample.ratio(is_k * says_k, says_k)),
                producers=_accuracy(sample.ratio(is_k * says_k, is_k)),
                points=int(is_k.sum()),
            )
        )
        if note := _doubt(sample, k, name):
            notes.append(note)
    has_class = (sample.mapped < len(sample.names)).astype(float)
    overall = sample.ratio((sample.mapped == sample.truth) * has_class, has_class)
    if overall is None:
        raise LabelError("no point lies where the map has a class; draw points from this map")
    rows = len(sample.names) + int((has_class == 0).any())
    confusion = np.zeros((rows, len(sample.names)), np.int64)
    np.add.at(confusion, (sample.mapped, sample.truth), 1)
    return AreaEstimate(
        classes=tuple(kinds),
        overall=_estimate_of(overall),
        hectares=total / 1e4,
        confusion=confusion,
        rows=(*sample.names, "unsure")[:rows],
        points=len(sample.truth),
        masked=ground.masked / 1e4,
        unmeasured=ground.unmeasured / 1e4,
        notes=tuple(notes),
    )


def _doubt(sample: _Sample, k: int, name: str) -> str | None:
    """Where the interval of an area promises more than so few points can keep."""
    is_k = (sample.truth == k).astype(float)
    missed = int((is_k[sample.mapped != k]).sum())
    second = sample.moment(is_k, 2)
    if not is_k.any():
        return f"the reference has no point of {name}: its area is not 0 for sure, only small"
    if not missed and second > 0:
        return (
            f"no point of {name} was found where the map has another class; more points there "
            "would find some, so its area is a lower guess and its interval too short"
        )
    # The third moment of a sample of n is as that of its points over n^2, as `moment` takes it.
    if second > 0 and abs(sample.moment(is_k, 3)) > _SKEWNESS * second**1.5:
        return (
            f"the interval of {name} rests on {missed} points found where the map has another "
            "class, and holds the truth less often than 95 %; more points would mend it"
        )
    return None


def _estimate_of(found: tuple[float, float], *, unit: float = 1.0) -> Estimate:
    """An estimate of a share, in a unit; its interval stays within 0 and 1."""
    value, error = found
    low, high = max(value - _Z * error, 0.0), min(value + _Z * error, 1.0)
    return Estimate(value * unit, error * unit, (low * unit, high * unit))


def _accuracy(found: tuple[float, float] | None) -> Estimate | None:
    return None if found is None else _estimate_of(found)


def _share(found: Estimate | None) -> str:
    return "none" if found is None else f"{found.value:.3f} ± {found.margin:.3f}"


def _part(progress: Progress | None, start: float, stop: float) -> Progress | None:
    if progress is None:
        return None
    return lambda share, text: progress(start + share * (stop - start), text)
