"""Does what is scored lie apart from what was trained on? Measured, and refused where not."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from shapely.geometry.base import BaseGeometry

from geofm.errors import SplitError
from geofm.scenes.catalog import Pair
from geofm.scenes.ground import crop, footprint
from geofm.scenes.window import Window
from geofm.tiles.groups import is_placed
from geofm.tiles.nearness import near_pairs, nearest_pair
from geofm.tiles.roles import Role, Roles, given_roles, split_pairs
from geofm.tiles.sketch import shared_ground, sketch_scene
from geofm.tiles.splits import distance

# What `nearness` may be off by.
_TOLERANCE = 0.99
_NAMES: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Leakage:
    """What a look at roles found.

    Attributes:
        distance: least metres between windows of different roles, 0 where they touch
            and -1 where they overlap; None where nothing has a place on Earth.
        leaks: one sentence a leak, the worst first; none where roles lie apart.
    """

    distance: float | None
    leaks: tuple[str, ...]

    def __str__(self) -> str:
        if self.distance is None:
            return "without a CRS no distance is known; no pixels are shared between roles"
        return f"roles lie {max(self.distance, 0):,.0f} m apart at the nearest"


def check_leakage(
    pairs: Sequence[Pair], roles: Roles, *, gap_m: float = 0.0, allow: bool = False
) -> Leakage:
    """Measure how far apart the roles lie.

    A leak is an overlap, a touch, less than ``gap_m`` metres between two roles, a
    given group in two roles, or, where there is no CRS, pixels that two scenes share.

    Args:
        gap_m: least metres between roles.
        allow: say what leaks and refuse nothing.

    Raises:
        SplitError: roles leak into each other, with the distance found.
    """
    sides = [_side(pairs, roles, role) for role in _NAMES]
    found = [_between(pairs, a, b, gap_m) for a, b in combinations(sides, 2)]
    distances = [leakage.distance for leakage in found if leakage.distance is not None]
    leaks = tuple(leak for leakage in found for leak in leakage.leaks)
    leakage = Leakage(min(distances, default=None), leaks)
    if leaks and not allow:
        more = f", and {len(leaks) - 1} more such" if len(leaks) > 1 else ""
        apart = f"needed more than {gap_m:g} m between roles"
        raise SplitError(
            f"{leaks[0]}{more}; {apart}; split by area instead of as given, or take the score for "
            "what it is with --allow-leakage"
        )
    return leakage


class _Place(NamedTuple):
    """A window of a pair, and its footprint."""

    pair: int
    outline: BaseGeometry


@dataclass(frozen=True, slots=True)
class _Side:
    """One role: what it is called, what lies on Earth, and the windows of what does not."""

    name: str
    pairs: tuple[int, ...]
    places: tuple[_Place, ...]
    bare: Mapping[int, tuple[Window, ...]]


def _side(pairs: Sequence[Pair], roles: Roles, role: Role) -> _Side:
    parts = roles.parts(role)
    places = tuple(
        _Place(at, outline)
        for at, windows in parts
        if is_placed(pairs[at])
        for window in windows
        if (outline := footprint(crop(pairs[at].scene.geobox, window))) is not None
    )
    bare = {at: windows for at, windows in parts if not is_placed(pairs[at])}
    return _Side(_NAMES[role], tuple(at for at, _ in parts), places, bare)


def _between(pairs: Sequence[Pair], ours: _Side, theirs: _Side, gap_m: float) -> Leakage:
    outlines = [place.outline for place in ours.places], [place.outline for place in theirs.places]
    _, _, least = nearest_pair(*outlines)
    near = near_pairs(*outlines, within=gap_m * _TOLERANCE)
    known = sorted((metres, ours.places[i].pair, theirs.places[j].pair) for i, j, metres in near)

    def told(a: int, b: int, verb: str) -> str:
        return f"{pairs[a].name} ({ours.name}) and {pairs[b].name} ({theirs.name}) {verb}"

    leaks = [told(a, b, _verb(metres)) for metres, a, b in known]
    leaks += [
        told(a, b, f"are of one group, {pairs[a].group}")
        for a, b in _one_group(pairs, ours.pairs, theirs.pairs)
    ]
    leaks += [
        told(at, at, _verb(apart))
        for at in sorted(set(ours.bare) & set(theirs.bare))
        if (apart := min(distance(a, b) for a in ours.bare[at] for b in theirs.bare[at])) <= 0
    ]
    leaks += [told(a, b, "share pixels") for a, b in _one_picture(pairs, ours.bare, theirs.bare)]
    return Leakage(least if all(outlines) else None, tuple(leaks))


def _verb(metres: float) -> str:
    return "overlap" if metres < 0 else "touch" if metres == 0 else f"lie {metres:,.0f} m apart"


def _one_group(
    pairs: Sequence[Pair], ours: Sequence[int], theirs: Sequence[int]
) -> list[tuple[int, int]]:
    """The first pairs of each given group that is on both sides."""
    if len({pair.group for pair in pairs if pair.group}) < 2:
        return []  # all of one group: its blocks are what can be told apart
    first = {pairs[at].group: at for at in reversed(ours) if pairs[at].group}
    second = {pairs[at].group: at for at in reversed(theirs)}
    return [(at, second[group]) for group, at in first.items() if group in second]


def _one_picture(
    pairs: Sequence[Pair], ours: Container[int], theirs: Container[int]
) -> list[tuple[int, int]]:
    """Pairs without a place on Earth that share pixels, one on each side."""
    bare = [at for at in range(len(pairs)) if at in ours or at in theirs]
    if not any(at in ours for at in bare) or not any(at in theirs for at in bare):
        return []
    shared = shared_ground([sketch_scene(pairs[at].scene) for at in bare])
    known = [(bare[i], bare[j]) for i, j in shared]
    return [(a, b) for i, j in known for a, b in ((i, j), (j, i)) if a in ours and b in theirs]


def find_roles(
    pairs: Sequence[Pair],
    *,
    val: float = 0.2,
    test: float = 0.0,
    gap_m: float | None = None,
    block: int | None = None,
    seed: int = 0,
    allow_leakage: bool = False,
) -> tuple[Roles, Leakage]:
    """Roles as given where pairs have splits, else by area; measured either way.

    Where a given split names no validation, some of its training is dealt to it.

    Args:
        val, test, gap_m, block, seed: as `split_pairs`.
        allow_leakage: refuse nothing, but say what leaks.

    Raises:
        SplitError: as `given_roles`, `split_pairs` and `check_leakage`.
    """
    if not any(pair.split for pair in pairs):
        roles = split_pairs(pairs, val=val, test=test, gap_m=gap_m, block=block, seed=seed)
        return roles, check_leakage(pairs, roles, gap_m=gap_m or 0.0, allow=allow_leakage)
    roles = given_roles(pairs)
    if not roles.val and val > 0:
        roles = _with_validation(pairs, roles, val=val, gap_m=gap_m, block=block, seed=seed)
    return roles, check_leakage(pairs, roles, gap_m=gap_m or 0.0, allow=allow_leakage)


def _with_validation(
    pairs: Sequence[Pair],
    roles: Roles,
    *,
    val: float,
    gap_m: float | None,
    block: int | None,
    seed: int,
) -> Roles:
    chosen = [at for at, _ in roles.train]
    dealt = split_pairs([pairs[at] for at in chosen], val=val, gap_m=gap_m, block=block, seed=seed)
    train, validation = (
        tuple((chosen[at], windows) for at, windows in part) for part in (dealt.train, dealt.val)
    )
    return Roles(train, validation, roles.test, f"{roles.how}; validation drawn from training")
