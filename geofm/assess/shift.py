"""Do labels lie a few pixels beside what the picture shows?

Borders of labels are held against edges of the picture, moved by up to three
pixels each way. Where labels fit, the edges under their borders are strongest
unmoved. A shift is reported only where it wins in nearly every draw of the parts
of a scene, or of many scenes, that have borders to tell by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from geofm.tasks import IGNORE

REACH = 3
"""Pixels that labels are moved, each way."""

_GAIN = 1.03
"""Edges under moved borders must be so much stronger than unmoved."""
_BORDERS = 40
"""Border pixels that a part needs to have a say."""
_PARTS = 3
_LEAST_PARTS = 6
_DRAWS = 200
_SURE = 0.95

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the picture has the edges that labels draw.

    Attributes:
        rows, cols: downwards and to the right of the labels, pixels.
        gain: strength of the picture's edges there, over that unmoved.
    """

    rows: int
    cols: int
    gain: float

    def __str__(self) -> str:
        down = f"{abs(self.rows)} px {'down' if self.rows > 0 else 'up'}" if self.rows else ""
        right = f"{abs(self.cols)} px {'right' if self.cols > 0 else 'left'}" if self.cols else ""
        return " and ".join(filter(None, (down, right))) or "none"


def judge_shift(scores: Sequence[Doubles]) -> Shift | None:
    """The move that would bring labels onto the picture's edges; None where none clearly would.

    Args:
        scores: of parts, as `score_moves` gives them.
    """
    if len(scores) < _LEAST_PARTS:
        return None
    stack = np.stack(scores)
    row, col = _peak(stack.mean(axis=0))
    gain = float(stack[:, row, col].mean() / stack[:, REACH, REACH].mean())
    if (row, col) == (REACH, REACH) or gain < _GAIN:
        return None
    random = np.random.default_rng(0)
    draws = random.integers(len(stack), size=(_DRAWS, len(stack)))
    peaks = np.array([_peak(stack[draw].mean(axis=0)) for draw in draws])
    near = (np.abs(peaks - (row, col)).max(axis=1) <= 1) & (peaks != REACH).any(axis=1)
    return Shift(row - REACH, col - REACH, gain) if near.mean() >= _SURE else None


def _peak(scores: Doubles) -> tuple[int, int]:
    row, col = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(row), int(col)


def score_moves(values: Floats, valid: Bools, target: Codes) -> list[Doubles]:
    """How strong the picture's edges are under the borders of labels, for each move.

    Args:
        values: (C, H, W) reflectance of one date.
        valid: (H, W).
        target: (H, W) class codes; `IGNORE` has no borders.

    Returns:
        For each part with enough borders, (7, 7) of the mean edge under borders moved by -3
        to 3 rows and columns, over the part's mean edge.
    """
    height, width = target.shape
    if min(height, width) < 4 * REACH:
        return []
    down, right = _edges(values, valid)
    borders = _borders(target)
    parts = [
        (
            slice(row * height // _PARTS, (row + 1) * height // _PARTS),
            slice(col * width // _PARTS, (col + 1) * width // _PARTS),
        )
        for row, col in product(range(_PARTS), range(_PARTS))
    ]
    found = (_scores(down, right, borders, part) for part in parts)
    return [scores for scores in found if scores is not None]


def _edges(values: Floats, valid: Bools) -> tuple[Floats, Floats]:
    """Strength of the edge below and to the right of each pixel, (H, W); NaN where unknown."""
    scale = values[:, valid].std(axis=1) if valid.any() else np.ones(len(values))
    steps = values / np.maximum(scale, 1e-6)[:, None, None]
    out = []
    for axis in (1, 2):
        edge = np.abs(np.diff(steps, axis=axis)).mean(axis=0)
        pad = [(0, 0), (0, 0)]
        pad[axis - 1] = (0, 1)
        known = valid & np.roll(valid, -1, axis=axis - 1)
        edge = np.where(known, np.pad(edge, pad, constant_values=np.nan), np.nan)
        # A few glaring edges, of clouds and roofs, must not decide.
        top = np.nanpercentile(edge, 95) if np.isfinite(edge).any() else 1.0
        out.append(np.minimum(edge, top).astype(np.float32))
    return out[0], out[1]


def _borders(target: Codes) -> tuple[Bools, Bools]:
    """Whether a border of classes lies below and to the right of each pixel, (H, W)."""
    out = []
    for axis in (0, 1):
        other = np.roll(target, -1, axis=axis)
        border = (target != other) & (target != IGNORE) & (other != IGNORE)
        # The last row or column has nothing behind it; what moved edges miss is left out.
        inner = np.zeros_like(border)
        inner[REACH : -REACH - 1, REACH : -REACH - 1] = True
        out.append(border & inner)
    return out[0], out[1]


def _scores(
    down: Floats, right: Floats, borders: tuple[Bools, Bools], part: tuple[slice, slice]
) -> npt.NDArray[np.float64] | None:
    """Mean edge under borders, moved each way, over the mean edge of the part; None if few."""
    places = [np.argwhere(border[part]) for border in borders]
    if sum(map(len, places)) < _BORDERS:
        return None
    start = np.array([part[0].start, part[1].start])
    edges = np.concatenate([down[part].ravel(), right[part].ravel()])
    usual = float(np.nanmean(edges)) if np.isfinite(edges).any() else 0.0
    if usual == 0:
        return None
    side = 2 * REACH + 1
    scores = np.empty((side, side))
    for row, col in product(range(side), range(side)):
        move = start + np.array([row - REACH, col - REACH])
        under = [
            edge[tuple((place + move).T)] for edge, place in zip((down, right), places, strict=True)
        ]
        joined = np.concatenate(under)
        scores[row, col] = np.nanmean(joined) / usual if np.isfinite(joined).any() else 0.0
    return scores
