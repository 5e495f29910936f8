"""Train, validation and test blocks of one grid, apart by a gap.

Neighbouring pixels resemble each other, so a split by pixel or by tile scores
memory. Here whole blocks go to one role, and training keeps its distance from
what it is scored on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, hypot

import numpy as np

from geofm.errors import SplitError
from geofm.scenes.window import Window


@dataclass(frozen=True, slots=True)
class Split:
    """Windows by role; those of different roles lie ``gap`` px or more apart."""

    train: tuple[Window, ...]
    val: tuple[Window, ...]
    test: tuple[Window, ...]


def plan_blocks(height: int, width: int, *, block: int) -> list[Window]:
    """Cut a grid into square blocks, row by row; those on the far edges may be smaller."""
    return [
        Window(row, col, block, block).clip(height, width)
        for row in range(0, height, block)
        for col in range(0, width, block)
    ]


def split_by_area(
    height: int,
    width: int,
    *,
    block: int,
    gap: int,
    test: float = 0.2,
    val: float = 0.0,
    seed: int = 0,
    content: Sequence[float] | None = None,
) -> Split:
    """Deal the blocks of a grid to train, validation and test.

    Blocks are drawn by systematic sampling after sorting by ``content``, so
    each role gets its share of full and of empty blocks. Test blocks stay
    whole; validation gives way to test, and training to both, by ``gap``.

    Args:
        height, width: grid size, pixels.
        block: side of a block, pixels.
        gap: least distance between pixels of different roles, pixels.
        test, val: shares of the blocks, 0 to 1, together below 1.
        seed: of the draw; the same seed gives the same split.
        content: what to spread evenly, such as labelled pixels of the rarest
            class: one number a block, in the order of `plan_blocks`.

    Raises:
        SplitError: shares or sizes are out of range, or a role that was asked
            for is left without a block.
    """
    if block < 1 or gap < 0 or min(test, val) < 0 or test + val >= 1:
        raise SplitError(
            f"blocks of {block} px, a gap of {gap} px, {test:g} for test and {val:g} for "
            "validation; needed a block of 1 px or more, a gap of 0 or more, and shares that "
            "leave something to train on"
        )
    blocks = plan_blocks(height, width, block=block)
    if content is not None and len(content) != len(blocks):
        raise SplitError(f"{len(content)} contents for {len(blocks)} blocks; give one a block")
    random = np.random.default_rng([seed, len(blocks)])
    order = random.permutation(len(blocks))
    if content is not None:
        order = order[np.argsort(-np.asarray(content, np.float64)[order], kind="stable")]

    in_test = draw_places(len(order), test, random.random())
    in_val = np.zeros(len(order), bool)
    rest = np.flatnonzero(~in_test)
    in_val[rest] = draw_places(len(rest), val / (1 - test), random.random())

    def chosen(role: np.ndarray) -> list[Window]:
        return [blocks[i] for i in sorted(order[role])]

    tests = chosen(in_test)
    vals = keep_apart(chosen(in_val), tests, gap=gap)
    trains = keep_apart(chosen(~in_test & ~in_val), [*tests, *vals], gap=gap)
    for name, share, windows in (("test", test, tests), ("validation", val, vals)):
        if share > 0 and not windows:
            raise SplitError(
                f"{len(blocks)} blocks of {block} px leave none for {name} "
                f"({share:g} wanted, gap {gap} px); choose smaller blocks or a larger share"
            )
    if not trains:
        raise SplitError(
            f"a gap of {gap} px around the test blocks leaves nothing of {len(blocks)} blocks of "
            f"{block} px to train on; choose a smaller gap, or larger blocks"
        )
    return Split(tuple(trains), tuple(vals), tuple(tests))


def draw_places(count: int, share: float, start: float) -> np.ndarray:
    """Mark every (1/share)-th of ``count`` places, from a random start: (count,) bool."""
    steps = [floor(start + i * share) for i in range(count + 1)]
    return np.diff(steps).astype(bool)


def keep_apart(windows: Sequence[Window], others: Sequence[Window], *, gap: int) -> list[Window]:
    """Trim windows until each lies ``gap`` px or more from all ``others``.

    Of the four sides, the one is cut that leaves most; a window that would
    vanish is left out.
    """
    return [trimmed for w in windows if (trimmed := _trim(w, others, gap))]


def join_windows(windows: Sequence[Window]) -> list[Window]:
    """Fewer, larger windows that cover the same pixels: neighbours of one side are joined.

    >>> join_windows([Window(0, 0, 4, 4), Window(0, 4, 4, 3), Window(4, 0, 2, 7)])
    [Window(row=0, col=0, height=6, width=7)]
    """
    across: list[Window] = []
    for w in sorted(windows, key=lambda w: (w.row, w.height, w.col)):
        last = across[-1] if across else None
        if last and (last.row, last.height, last.stop_col) == (w.row, w.height, w.col):
            across[-1] = last._replace(width=last.width + w.width)
        else:
            across.append(w)
    down: list[Window] = []
    for w in sorted(across, key=lambda w: (w.col, w.width, w.row)):
        last = down[-1] if down else None
        if last and (last.col, last.width, last.stop_row) == (w.col, w.width, w.row):
            down[-1] = last._replace(height=last.height + w.height)
        else:
            down.append(w)
    return sorted(down)


def _trim(window: Window, others: Sequence[Window], gap: int) -> Window | None:
    for other in others:
        if distance(window, other) >= gap:
            continue
        row, col = other.row - gap, other.col - gap
        stop_row, stop_col = other.stop_row + gap, other.stop_col + gap
        sides = (
            Window(window.row, window.col, row - window.row, window.width),  # above
            Window(stop_row, window.col, window.stop_row - stop_row, window.width),  # below
            Window(window.row, window.col, window.height, col - window.col),  # to the left
            Window(window.row, stop_col, window.height, window.stop_col - stop_col),
        )
        window = max(sides, key=lambda w: max(w.height, 0) * max(w.width, 0))
        if min(window.height, window.width) < 1:
            return None
    return window


def distance(a: Window, b: Window) -> float:
    """Pixels between two windows, the shortest way: 0 when they touch, -1 when they overlap."""
    rows = max(a.row - b.stop_row, b.row - a.stop_row)
    cols = max(a.col - b.stop_col, b.col - a.stop_col)
    return -1.0 if max(rows, cols) < 0 else hypot(max(rows, 0), max(cols, 0))


def check_apart(train: Sequence[Window], test: Sequence[Window], *, gap: float) -> float:
    """The least distance between training and test windows of one grid, pixels.

    Raises:
        SplitError: it is below ``gap``.
    """
    found, a, b = min(((distance(a, b), a, b) for a in train for b in test), key=lambda d: d[0])
    if found < gap:
        where = "overlap" if found < 0 else f"lie {found:g} px apart"
        raise SplitError(
            f"training window {tuple(a)} and test window {tuple(b)} {where}; "
            f"needed {gap:g} px; split by area with a gap"
        )
    return found
