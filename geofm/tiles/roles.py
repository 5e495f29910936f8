"""Train, validation and test for pairs of scenes and labels.

Where there are places enough, whole places are dealt; else blocks of the scenes,
with a gap between the roles. What lies near each other stays together either way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from geofm.errors import SplitError
from geofm.scenes.catalog import Pair
from geofm.scenes.ground import crop, footprint
from geofm.scenes.warp import same_grid
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.dealing import Shares, class_counts, deal
from geofm.tiles.groups import group_pairs, is_placed
from geofm.tiles.nearness import near_pairs
from geofm.tiles.splits import join_windows, keep_apart, plan_blocks

Role = Literal["train", "val", "test"]
Part = tuple[int, tuple[Window, ...]]
"""A pair by its position, and windows of it."""

MIN_GROUPS = 5
"""Places from which on whole places are dealt."""

_GAP = 32
"""Pixels between roles where nobody says: neighbours resemble each other about so far."""
_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class Roles:
    """Which windows of which pairs train, choose and test.

    Attributes:
        train, val, test: pairs by position, each with disjoint windows.
        how: one sentence on how they were found, for people.
    """

    train: tuple[Part, ...]
    val: tuple[Part, ...] = ()
    test: tuple[Part, ...] = ()
    how: str = ""

    def parts(self, role: Role) -> tuple[Part, ...]:
        """The parts of one role."""
        return {"train": self.train, "val": self.val, "test": self.test}[role]

    def of(self, role: Role, pairs: Sequence[Pair]) -> tuple[list[Pair], list[tuple[Window, ...]]]:
        """The pairs of a role, and for each its windows, as training and scoring take them."""
        parts = self.parts(role)
        return [pairs[at] for at, _ in parts], [windows for _, windows in parts]


def given_roles(pairs: Sequence[Pair]) -> Roles:
    """Roles as whoever published the pairs gave them (`Pair.split`).

    Raises:
        SplitError: some pairs have none, or nothing is left to train on.
    """
    bare = [pair.name for pair in pairs if not pair.split]
    if bare:
        raise SplitError(
            f"{len(bare)} of {len(pairs)} pairs have no split, such as {bare[0]}, and others have; "
            "give one to each, or to none"
        )
    parts: dict[str, tuple[Part, ...]] = {
        role: tuple((at, (whole(pair),)) for at, pair in enumerate(pairs) if pair.split == role)
        for role in ("train", "val", "test")
    }
    if not parts["train"]:
        raise SplitError(f"none of {len(pairs)} pairs is given to training; correct their splits")
    sizes = ", ".join(f"{len(found)} {role}" for role, found in parts.items())
    return Roles(parts["train"], parts["val"], parts["test"], how=f"split as given: {sizes}")


def whole(pair: Pair) -> Window:
    """The window of all of a pair's scene."""
    return Window(0, 0, *pair.scene.shape)


def split_pairs(
    pairs: Sequence[Pair],
    *,
    val: float = 0.2,
    test: float = 0.0,
    gap_m: float | None = None,
    block: int | None = None,
    seed: int = 0,
) -> Roles:
    """Deal pairs to training, validation and test by area.

    Places are the given groups, else what lies nearer than the gap or, without a
    CRS, shares pixels. Five places or more are dealt whole; else blocks of the
    scenes are, and a gap is left between roles. Of many draws the one is taken
    that gives each role its share of every class, the rarest above all.

    Args:
        val, test: shares, 0 to 1, together below 1.
        gap_m: least metres between roles; 32 pixels by default.
        block: side of a block, pixels; some 64 blocks in all by default.
        seed: of the draws; the same seed gives the same roles.

    Raises:
        SplitError: the shares are out of range, a role is left without labels, or
            scenes without a CRS ask for a gap in metres and do not say their size.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise SplitError(
            f"{val:g} for validation and {test:g} for test; needed shares from 0 that leave "
            "something to train on"
        )
    if not pairs:
        raise SplitError("no pairs to split; give one or more")
    if val == test == 0:
        return Roles(tuple((at, (whole(pair),)) for at, pair in enumerate(pairs)), how="no split")
    shares = Shares(1 - val - test, val, test)
    gap = _default_gap(pairs) if gap_m is None else gap_m
    groups = group_pairs(pairs, gap=gap)
    count = max(groups) + 1
    # Given groups are dealt whole however few; there is a reason for them.
    least = sum(share > 0 for share in shares) if any(p.group for p in pairs) else MIN_GROUPS
    if count >= least and block is None:
        return _deal_groups(pairs, groups, shares, seed)
    side = block or _block_side(pairs)
    grids = _grids(pairs, gap_m, side)
    return _deal_blocks(pairs, grids, shares, side=side, seed=seed)


def _default_gap(pairs: Sequence[Pair]) -> float:
    return _GAP * max(pair.scene.resolution or 0.0 for pair in pairs)


def _deal_groups(pairs: Sequence[Pair], groups: Sequence[int], shares: Shares, seed: int) -> Roles:
    counts = np.zeros((max(groups) + 1, IGNORE))
    for pair, group in zip(pairs, groups, strict=True):
        counts[group] += class_counts(pair.labels, whole(pair))
    dealt = deal(counts, shares, seed=seed, what="places")
    chosen = [[(at, [whole(pair)])] for at, pair in enumerate(pairs)]
    parts = [
        [part for found, group in zip(chosen, groups, strict=True) if dealt[group] == role
         for part in found]
        for role in range(3)
    ]  # fmt: skip
    sizes = [int((dealt == role).sum()) for role in range(3)]
    return _roles(parts, sizes, "whole places")


def _roles(
    parts: Sequence[Iterable[tuple[int, list[Window]]]], sizes: Sequence[int], what: str
) -> Roles:
    named = zip(sizes, ("to train on", "to validate", "to test"), strict=True)
    train, val, test = (
        tuple((at, tuple(windows)) for at, windows in sorted(part)) for part in parts
    )
    how = f"split by area, {what}: " + ", ".join(f"{n} {role}" for n, role in named if n)
    return Roles(train, val, test, how)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Pairs on one grid, whose blocks share a role.

    Attributes:
        pairs: their positions.
        geobox: the grid.
        placed: it has a place on Earth.
        gap, reach: between roles, pixels and metres.
        windows: for each role, the windows it has so far.
    """

    pairs: tuple[int, ...]
    geobox: GeoBox
    placed: bool
    gap: int
    reach: float
    windows: tuple[list[Window], list[Window], list[Window]]


def _deal_blocks(
    pairs: Sequence[Pair], grids: Sequence[_Grid], shares: Shares, *, side: int, seed: int
) -> Roles:
    blocks = [
        (grid, window) for grid in grids for window in plan_blocks(*grid.geobox.shape, block=side)
    ]
    counts = [
        np.sum([class_counts(pairs[at].labels, window) for at in grid.pairs], axis=0)
        for grid, window in blocks
    ]
    dealt = deal(np.array(counts), shares, seed=seed, what=f"blocks of {side} px")
    for (grid, window), role in zip(blocks, dealt, strict=True):
        grid.windows[role].append(window)
    for grid in grids:
        trains, vals, tests = grid.windows
        vals[:] = keep_apart(vals, tests, gap=grid.gap)
        trains[:] = keep_apart(trains, [*tests, *vals], gap=grid.gap)
    _thin([grid for grid in grids if grid.placed])
    for grid in grids:
        # Training and mapping see more of a larger window.
        for windows in grid.windows:
            windows[:] = join_windows(windows)
    sizes = [sum(len(grid.windows[role]) for grid in grids) for role in range(3)]
    gap = max(grid.gap for grid in grids)
    for size, share, verb in zip(sizes, shares, ("train on", "validate", "test"), strict=True):
        if share > 0 and not size:
            raise SplitError(
                f"{len(blocks)} blocks of {side} px leave none to {verb} beside a gap of {gap} px; "
                "label more places, or choose smaller blocks or a smaller gap"
            )
    parts = [
        [(at, grid.windows[role]) for grid in grids for at in grid.pairs if grid.windows[role]]
        for role in range(3)
    ]
    return _roles(parts, sizes, f"blocks of {side} px with {gap} px between roles")


def _block_side(pairs: Sequence[Pair]) -> int:
    """A multiple of 16 that cuts the scenes into some 64 blocks."""
    pixels = sum(pair.scene.shape[0] * pair.scene.shape[1] for pair in pairs)
    return max(16, round(sqrt(pixels / _BLOCKS) / 16) * 16)


def _gap_pixels(pair: Pair, gap_m: float | None, side: int) -> int:
    if gap_m is None:
        return min(_GAP, side // 4)
    if pair.scene.resolution is None and gap_m > 0:
        raise SplitError(
            f"a gap of {gap_m:g} m was asked for, and the pixels of {pair.name} have no size; say "
            "it with ground_size=, or leave the gap to geofm"
        )
    return ceil(gap_m / (pair.scene.resolution or 1.0))


def _grids(pairs: Sequence[Pair], gap_m: float | None, side: int) -> list[_Grid]:
    """The grids of the pairs; one without a place on Earth is each pair's own."""
    found: list[tuple[Pair, list[int]]] = []
    for at, pair in enumerate(pairs):
        twins = (members for first, members in found if _on_one_grid(pair, first))
        members = next(twins, None)
        if members is None:
            found.append((pair, [at]))
        else:
            members.append(at)
    grids = []
    for first, members in found:
        gap = _gap_pixels(first, gap_m, side)
        reach = gap * (first.scene.resolution or 0.0)
        geobox, placed = first.scene.geobox, is_placed(first)
        grids.append(_Grid(tuple(members), geobox, placed, gap, reach, ([], [], [])))
    return grids


def _on_one_grid(a: Pair, b: Pair) -> bool:
    ours, theirs = a.scene.geobox, b.scene.geobox
    return is_placed(a) and ours.crs == theirs.crs and same_grid(ours, theirs)


def _thin(grids: Sequence[_Grid]) -> None:
    """Leave out what lies within the gap of another role on another grid."""
    if len(grids) < 2:
        return
    reach = max(grid.reach for grid in grids)
    for role in (1, 0):
        ours = list(_outlines(grids, (role,)))
        theirs = list(_outlines(grids, range(role + 1, 3)))
        near = near_pairs([o[2] for o in ours], [o[2] for o in theirs], within=reach)
        drop = {ours[i][:2] for i, j, _ in near if ours[i][0] != theirs[j][0]}
        for number, grid in enumerate(grids):
            grid.windows[role][:] = [w for w in grid.windows[role] if (number, w) not in drop]


def _outlines(
    grids: Sequence[_Grid], roles: Iterable[int]
) -> Iterator[tuple[int, Window, BaseGeometry]]:
    """Number of the grid, window and footprint of what has one of the roles."""
    roles = list(roles)
    for number, grid in enumerate(grids):
        for role in roles:
            for window in grid.windows[role]:
                outline = footprint(crop(grid.geobox, window))
                if outline is not None:
                    yield number, window, outline
