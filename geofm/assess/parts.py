"""What is scored, cut into parts; and what is drawn anew for an interval: groups, chips or blocks.

Pixels are no sample of their own, because neighbours err together. What lies apart is:
groups of scenes where there are enough of them, else chips, else blocks of the scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

from geofm.errors import TilingError
from geofm.model.metrics import MIN_BLOCKS
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tiles.area import cells
from geofm.tiles.groups import group_pairs

Unit = Literal["group", "chip", "block"]

# Blocks that scenes are cut into: enough for an interval though many hold no label, and
# few enough that a block is larger than what pixels have in common.
_BLOCKS = 64
_SMALLEST, _LARGEST = 32, 4096


@dataclass(frozen=True, slots=True)
class Part:
    """Windows of one pair that are counted together.

    Attributes:
        pair: position of the pair.
        unit: position of what is drawn anew; a group has several parts.
        windows: disjoint, inside the pair's grid.
        name: what pages call it.
    """

    pair: int
    unit: int
    windows: tuple[Window, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts of a set of pairs.

    Attributes:
        unit: what is drawn anew.
        side: of a block, pixels; 0 where windows are given or nothing is cut.
        units: how many are drawn anew.
        groups: of pairs that belong together, given or by the ground they share.
    """

    parts: tuple[Part, ...]
    unit: Unit
    side: int
    units: int
    groups: int


def plan_parts(pairs: Sequence[Pair], windows: Sequence[Sequence[Window]] | None) -> Parts:
    """Cut what is scored into parts.

    Args:
        windows: for each pair, the windows to score, disjoint; None for all.

    Raises:
        TilingError: not one list of windows a pair, or a window leaves its grid.
    """
    wanted = _windows(pairs, windows)
    groups = group_pairs(pairs)
    count = len(set(groups))
    if count >= MIN_BLOCKS and count < len(pairs):
        return _by_pair(pairs, wanted, "group", groups)
    if len(pairs) >= MIN_BLOCKS:
        return replace(_by_pair(pairs, wanted, "chip", list(range(len(pairs)))), groups=count)
    return replace(_by_block(pairs, wanted), groups=count)


def _windows(
    pairs: Sequence[Pair], windows: Sequence[Sequence[Window]] | None
) -> list[tuple[Window, ...]]:
    if windows is None:
        return [(Window(0, 0, *pair.scene.shape),) for pair in pairs]
    if len(windows) != len(pairs):
        raise TilingError(
            f"{len(windows)} lists of windows for {len(pairs)} pairs; give one list a pair"
        )
    for pair, some in zip(pairs, windows, strict=True):
        for window in some:
            if window.clip(*pair.scene.shape) != window or min(window.height, window.width) < 1:
                raise TilingError(
                    f"{pair.name}: {window} reaches outside its {pair.scene.shape[0]} x "
                    f"{pair.scene.shape[1]} px; clip the windows to the scene"
                )
    return [tuple(some) for some in windows]


def _by_pair(
    pairs: Sequence[Pair], windows: Sequence[tuple[Window, ...]], unit: Unit, units: Sequence[int]
) -> Parts:
    parts = [
        Part(at, units[at], windows[at], pair.name) for at, pair in enumerate(pairs) if windows[at]
    ]
    return Parts(tuple(parts), unit, 0, len(set(units)), len(set(units)))


def _by_block(pairs: Sequence[Pair], windows: Sequence[tuple[Window, ...]]) -> Parts:
    """Windows as given where there are enough of them, else cut into square blocks."""
    given = sum(len(some) for some in windows)
    side = 0 if given >= MIN_BLOCKS else _side(windows)
    parts: list[Part] = []
    for at, (pair, some) in enumerate(zip(pairs, windows, strict=True)):
        for window in some:
            for block in cells(window, size=side) if side else (window,):
                rows, cols = f"{block.row}-{block.stop_row}", f"{block.col}-{block.stop_col}"
                name = f"{pair.name} rows {rows} columns {cols}"
                parts.append(Part(at, len(parts), (block,), name))
    return Parts(tuple(parts), "block", side, len(parts), 0)


def _side(windows: Sequence[tuple[Window, ...]]) -> int:
    """A power of two that cuts the windows into some 64 to 256 blocks."""
    pixels = sum(window.height * window.width for some in windows for window in some)
    side = max(int(sqrt(pixels / _BLOCKS)), 1)
    return min(max(1 << side.bit_length() - 1, _SMALLEST), _LARGEST)
