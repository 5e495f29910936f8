"""Plan covering windows: a grid's size in, windows out; arithmetic only."""

from geofm.errors import TilingError
from geofm.scenes.window import Window

MOST_PASSES = 1.25
"""Forward passes a pixel on a large grid: (size / (size - overlap)) squared, at most."""


def plan_windows(height: int, width: int, *, size: int, overlap: int = 0) -> list[Window]:
    """Plan square windows that together cover a grid, row by row.

    The last window of a row or column moves back to end on the edge. A side
    shorter than a window gets one window at 0; its reader pads the rest.

    Args:
        height, width: grid size, pixels, 1 or more.
        size: window side, pixels.
        overlap: pixels shared by neighbours, 0 to ``size - 1``.

    Raises:
        TilingError: the grid is empty, or ``overlap`` leaves no step between windows.

    >>> [w.col for w in plan_windows(4, 10, size=4)]
    [0, 4, 6]
    """
    rows = axis_starts(height, size=size, overlap=overlap)
    cols = axis_starts(width, size=size, overlap=overlap)
    return [Window(row, col, size, size) for row in rows for col in cols]


def axis_starts(length: int, *, size: int, overlap: int = 0) -> list[int]:
    """Where windows start along one side of a grid, in pixels, ascending.

    Raises:
        TilingError: as `plan_windows`.

    >>> axis_starts(10, size=4, overlap=1)
    [0, 3, 6]
    """
    if length < 1:
        raise TilingError(f"a grid side is {length} px long; it needs 1 or more")
    if size < 1 or not 0 <= overlap < size:
        raise TilingError(
            f"windows of {size} px with {overlap} px shared leave no step; "
            "choose a size of 1 or more and an overlap from 0 to size - 1"
        )
    if length <= size:
        return [0]
    starts = list(range(0, length - size, size - overlap))
    return [*starts, length - size]


def usual_overlap(size: int, *, patch: int) -> int:
    """Pixels that windows of a map share unless told: as many as `MOST_PASSES` pays for.

    In whole patches where one fits: neighbours then cut the ground into the same patches.

    >>> usual_overlap(224, patch=16), usual_overlap(64, patch=8)
    (16, 6)
    """
    most = int(size * (1 - MOST_PASSES**-0.5))
    return most // patch * patch or most
