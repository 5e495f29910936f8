"""Labelled scenes before anything is trained on them: what is wrong, what one should know."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from geofm.assess.look import Look, look_at
from geofm.assess.shift import Shift, judge_shift
from geofm.errors import GeofmError
from geofm.scenes.catalog import Pair
from geofm.scenes.ground import crs_name
from geofm.scenes.match import MAX_RESOLUTION_RATIO
from geofm.tasks import MapClass
from geofm.tiles.groups import group_pairs
from geofm.tiles.leakage import check_leakage
from geofm.tiles.roles import MIN_GROUPS, given_roles

Progress = Callable[[float, str], None]
Weight = Literal["problem", "advice"]

_RARE = 0.01
_UNMEASURED = 0.05
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence on the data.

    Attributes:
        weight: a ``problem`` stands in the way of an honest model; ``advice`` may not.
        pairs: names of those it is about, the worst first; none where it is about all.
    """

    weight: Weight
    text: str
    pairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a look at labelled scenes found.

    Attributes:
        pairs: how many could be opened and read.
        facts: sentences on what the data are, such as sizes and bands.
        classes: name and labelled pixels of each class.
        findings: problems first.
        looks: of each pair that could be read, by name.
        leakage: how far given splits lie apart; "" where none are given.
    """

    pairs: int
    facts: Mapping[str, str]
    classes: Mapping[str, int]
    findings: tuple[Finding, ...]
    leakage: str = ""
    looks: Mapping[str, Look] = field(default_factory=dict, repr=False)

    @property
    def problems(self) -> int:
        """How many findings are problems."""
        return sum(finding.weight == "problem" for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pairs": self.pairs,
            "facts": dict(self.facts),
            "labelled_pixels": dict(self.classes),
            "leakage": self.leakage or None,
            "problems": self.problems,
            "findings": [
                {"weight": one.weight, "text": one.text, "pairs": list(one.pairs)}
                for one in self.findings
            ],
        }


def check_pairs(
    pairs: Sequence[Pair],
    classes: Sequence[MapClass],
    *,
    failures: Sequence[tuple[str, str]] = (),
    left_out: Sequence[str] = (),
    allow_leakage: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Look at labelled scenes: grids, bands, units, classes, shifts, doubles, leaks.

    Args:
        classes: in the order of their codes.
        failures: name and reason of each pair that could not be opened.
        left_out: sentences on files that belong to no pair.
        allow_leakage: leaks between given splits are advice, not a problem.
        progress: is told the share done, 0 to 1, and what is being done.
    """
    failures = list(failures)
    looks: dict[str, Look] = {}
    read: list[Pair] = []
    for done, pair in enumerate(pairs, start=1):
        try:
            looks[pair.name] = look_at(pair)
            read.append(pair)
        except GeofmError as error:
            failures.append((pair.name, str(error)))
        if progress:
            progress(done / len(pairs), f"reading {pair.name}")
    findings = [
        *_failures(failures),
        *(_apart(read, allow_leakage=allow_leakage)),
        *_alike(read),
        *_labels(list(looks.values()), classes),
        *_shifts(list(looks.values())),
        *_doubles(list(looks.values())),
        *(Finding("advice", sentence) for sentence in left_out),
    ]
    counts = np.sum([look.counts for look in looks.values()], axis=0) if looks else None
    return CheckReport(
        pairs=len(read),
        facts=dict(_facts(read)),
        classes={
            kind.name: 0 if counts is None else int(counts[code])
            for code, kind in enumerate(classes)
        },
        findings=tuple(sorted(findings, key=lambda one: one.weight != "problem")),
        leakage=_leakage(read),
        looks=looks,
    )


def _failures(failures: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Of one reason, one sentence; names differ within it."""
    alike: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, reason in failures:
        alike[reason.replace(name, "")].append((name, reason))
    for some in alike.values():
        name, reason = some[0]
        more = f" (and {len(some) - 1} more so)" if len(some) > 1 else ""
        yield Finding("problem", f"{reason}{more}", tuple(one for one, _ in some))


def _apart(pairs: Sequence[Pair], *, allow_leakage: bool) -> Iterator[Finding]:
    """Do given splits leak; else, are there places enough for a split?"""
    if not pairs:
        return
    if any(pair.split for pair in pairs):
        try:
            roles = given_roles(pairs)
        except GeofmError as error:
            yield Finding("problem", str(error))
            return
        leaks = check_leakage(pairs, roles, allow=True).leaks
        if leaks:
            more = f", and {len(leaks) - 1} more such" if len(leaks) > 1 else ""
            yield Finding(
                "advice" if allow_leakage else "problem",
                f"the given split leaks: {leaks[0]}{more}; scores on it flatter (--allow-leakage "
                "takes them for what they are)",
            )
        return
    places = max(group_pairs(pairs)) + 1
    if places < MIN_GROUPS:
        yield Finding(
            "advice",
            f"the scenes lie in {_count(places, 'place')}; with fewer than {MIN_GROUPS} blocks of "
            "them are set apart for scores, which say little of other places",
        )
    bare = [pair.name for pair in pairs if pair.scene.footprint is None and not pair.group]
    if bare:
        yield Finding(
            "advice",
            f"{len(bare)} of {len(pairs)} scenes have no CRS: whether they lie beside "
            "each other is not known; say what belongs together with --groups FILE:COLUMN",
            tuple(bare[:_NAMED]),
        )


def _leakage(pairs: Sequence[Pair]) -> str:
    if not pairs or not all(pair.split for pair in pairs):
        return ""
    try:
        return str(check_leakage(pairs, given_roles(pairs), allow=True))
    except GeofmError:
        return ""


def _alike(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Bands, dates, level and ground size must be those of one model."""
    for what, values in (
        ("bands", [", ".join(pair.scene.bands) for pair in pairs]),
        ("numbers of dates", [str(len(pair.scene.dates)) for pair in pairs]),
        ("processing levels", [pair.scene.level for pair in pairs]),
    ):
        kinds = Counter(values).most_common()
        if len(kinds) > 1:
            (usual, often), (other, seldom) = kinds[0], kinds[-1]
            odd = tuple(
                pair.name for pair, value in zip(pairs, values, strict=True) if value != usual
            )
            yield Finding(
                "problem",
                f"scenes have different {what}: {usual} ({often}), {other} ({seldom}); a model "
                "needs the same of all",
                odd[:_NAMED],
            )
    if any(pair.scene.level == "unknown" for pair in pairs):
        yield Finding("problem", "no processing level is known; say --level toa or --level surface")
    sizes = [pair.scene.resolution for pair in pairs]
    unknown = [pair.name for pair, size in zip(pairs, sizes, strict=True) if size is None]
    known = [size for size in sizes if size is not None]
    if unknown:
        yield Finding(
            "problem",
            f"{_count(len(unknown), 'scene')} without a CRS do not say the size of their pixels; "
            "give --ground-size METRES",
            tuple(unknown[:_NAMED]),
        )
    if known and max(known) > MAX_RESOLUTION_RATIO * min(known):
        yield Finding(
            "problem",
            f"pixels are {min(known):.3g} to {max(known):.3g} m on the ground; a model needs them "
            f"within a factor {MAX_RESOLUTION_RATIO:g}",
        )


def _labels(looks: Sequence[Look], classes: Sequence[MapClass]) -> Iterator[Finding]:
    if not looks:
        return
    counts = np.sum([look.counts for look in looks], axis=0)
    unknown = np.flatnonzero(counts[len(classes) :]) + len(classes)
    if len(unknown):
        codes = ", ".join(map(str, unknown[:8]))
        where = [look.name for look in looks if look.counts[unknown].any()]
        yield Finding(
            "problem",
            f"labels hold {_count(len(unknown), 'code')} that is no class ({codes}); the classes "
            f"are 0 to {len(classes) - 1}; say what the codes mean (--codes or --legend)",
            tuple(where[:_NAMED]),
        )
    known = counts[: len(classes)]
    if not known.any():
        yield Finding(
            "problem",
            "no pixel is labelled with a class: all are ignored, nodata or NaN; say what the "
            "labels' codes mean (--codes), and check that they lie on the scenes",
        )
        return
    if np.count_nonzero(known) == 1:
        name = classes[int(known.argmax())].name
        yield Finding(
            "problem",
            f"all labels are {name}; needed two classes or more; if a nodata value hides one, say "
            "what each code means (--codes)",
        )
    absent = [kind.name for kind, count in zip(classes, known, strict=True) if not count]
    if absent and np.count_nonzero(known) > 1:
        yield Finding(
            "advice",
            f"no pixel is labelled {', '.join(absent)}; a model will not learn it; label some, or "
            "leave it out of the legend",
        )
    rare = [
        f"{kind.name} ({count / known.sum():.2%})"
        for kind, count in zip(classes, known, strict=True)
        if 0 < count < _RARE * known.sum()
    ]
    if rare:
        yield Finding(
            "advice", f"rare among the labels: {', '.join(rare)}; its score will be rough"
        )
    yield from _bare(looks, known.sum())


def _bare(looks: Sequence[Look], labelled: float) -> Iterator[Finding]:
    empty = [look.name for look in looks if not look.labelled]
    if empty:
        yield Finding(
            "advice",
            f"{len(empty)} of {len(looks)} pairs have no labelled pixel and teach nothing",
            tuple(empty[:_NAMED]),
        )
    lost = sorted(looks, key=lambda look: -look.unmeasured)
    share = sum(look.unmeasured for look in looks) / labelled
    if share > _UNMEASURED:
        yield Finding(
            "advice",
            f"{share:.0%} of the labelled pixels lie where the scene has no valid pixel; check "
            "nodata, clouds and that scene and labels are of one place",
            tuple(look.name for look in lost[:_NAMED] if look.unmeasured),
        )


def _shifts(looks: Sequence[Look]) -> Iterator[Finding]:
    every = judge_shift([moves for look in looks for moves in look.moves])
    if every is not None:
        yield Finding(
            "problem",
            f"labels look shifted: the picture's edges lie {every} of where labels draw them, in "
            "the whole set; check the grids and corners of the labels",
            tuple(look.name for look in looks if look.moves)[:_NAMED],
        )
        return
    alone: list[tuple[Look, Shift]] = []
    for look in looks:
        shift = judge_shift(look.moves)
        if shift is not None:
            alone.append((look, shift))
    for look, shift in sorted(alone, key=lambda one: -one[1].gain)[:_NAMED]:
        yield Finding(
            "advice",
            f"{look.name}: labels may be shifted: the picture's edges lie {shift} of where they "
            "draw them",
            (look.name,),
        )


def _doubles(looks: Sequence[Look]) -> Iterator[Finding]:
    twins: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        if look.valid > 0:
            twins[look.pixels].append(look)
    same = [some for some in twins.values() if len(some) > 1]
    torn = [some for some in same if len({look.labels for look in some}) > 1]
    for kind, some, what in (
        ("problem", torn, "equal pixels and different labels"),
        ("advice", [one for one in same if one not in torn], "equal pixels"),
    ):
        if some:
            first = " and ".join(look.name for look in some[0][:2])
            more = f", and {len(some) - 1} more such" if len(some) > 1 else ""
            names = tuple(look.name for one in some for look in one)
            weight: Weight = "problem" if kind == "problem" else "advice"
            yield Finding(weight, f"{first} have {what}{more}; keep one", names[:_NAMED])


def _facts(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    if not pairs:
        return
    scenes = [pair.scene for pair in pairs]
    sizes = Counter(f"{height} x {width}" for height, width in (one.shape for one in scenes))
    yield "sizes", _kinds(sizes, "px")
    yield "CRS", _kinds(Counter(crs_name(one.geobox) for one in scenes))
    ground = sorted(one.resolution for one in scenes if one.resolution is not None)
    if ground:
        span = f"{ground[0]:.3g}" if ground[-1] < 1.02 * ground[0] else (
            f"{ground[0]:.3g} to {ground[-1]:.3g}"
        )  # fmt: skip
        yield "pixels", f"{span} m on the ground"
    yield "bands", _kinds(Counter(", ".join(one.bands) for one in scenes))
    yield "values", _kinds(Counter(one.units for one in scenes))
    days = sorted(day for one in scenes for day in one.dates if day)
    number = _kinds(Counter(_count(len(one.dates), "date") for one in scenes))
    # One day is no range.
    known = " to ".join(dict.fromkeys((str(days[0]), str(days[-1])))) if days else "not known"
    yield "dates", f"{number}, {known}"
    roles = Counter(pair.split for pair in pairs if pair.split)
    if roles:
        yield "given split", ", ".join(f"{count} {role}" for role, count in roles.items())


def _kinds(found: Counter[str], unit: str = "") -> str:
    """The commonest of some values, and how many others there are."""
    (usual, _), *others = found.most_common()
    named = f"{usual} {unit}".strip()
    return f"{named}, and {len(others)} other kinds" if others else named


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
