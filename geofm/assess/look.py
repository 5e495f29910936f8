"""A first look at one pair: what its labels hold, whether they fit, and a picture of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geofm.assess.chips import SIDE, Rgb, draw_image, palette_of
from geofm.assess.shift import score_moves
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, MapClass
from geofm.tiles.area import cells

_READ = 1024

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was found in one pair.

    Attributes:
        name: of the pair.
        counts: labelled pixels by code, (255,).
        unmeasured: labelled pixels where the scene has no valid pixel on any date.
        valid: share of the pixels that are measured, of all dates.
        moves: as `score_moves`, of the part that was pictured.
        pixels, labels: hashes of the numbers of the pictured part.
        window: the pictured part.
    """

    name: str
    counts: Doubles
    unmeasured: int
    valid: float
    moves: tuple[Doubles, ...]
    pixels: str
    labels: str
    window: Window

    @property
    def labelled(self) -> int:
        """Labelled pixels."""
        return int(self.counts.sum())


def look_at(pair: Pair) -> Look:
    """Read a pair once, in blocks.

    Raises:
        SceneError, LabelError: the pair cannot be read.
    """
    height, width = pair.scene.shape
    counts, unmeasured, measured, best = np.zeros(IGNORE), 0, 0.0, (-1, Window(0, 0, 1, 1))
    for window in cells(Window(0, 0, height, width), size=_READ):
        target = pair.labels.read(window)
        valid = pair.scene.read_stored(window).valid
        labelled = target != IGNORE
        counts += np.bincount(target.ravel(), minlength=IGNORE + 1)[:IGNORE]
        unmeasured += int((labelled & ~valid.any(axis=0)).sum())
        measured += float(valid.mean()) * valid[0].size
        # The most telling block is the one with most pixels of a second class.
        kinds = np.sort(np.bincount(target[labelled], minlength=2))
        best = max(best, (int(kinds[-2]), window))
    window = best[1]
    pixels, target = pair.scene.read(window), pair.labels.read(window)
    digest = hashlib.sha256(pixels.valid.tobytes())
    digest.update(pixels.values.tobytes())
    return Look(
        name=pair.name,
        counts=counts,
        unmeasured=unmeasured,
        valid=measured / (height * width),
        moves=tuple(score_moves(pixels.values[-1], pixels.valid[-1], target)),
        pixels=digest.hexdigest(),
        labels=hashlib.sha256(target.tobytes()).hexdigest(),
        window=window,
    )


def draw_pair(pair: Pair, window: Window, classes: Sequence[MapClass]) -> tuple[Rgb, Rgb]:
    """The image of a part of a pair, and its labels beside it: (h, w, 3) uint8 each."""
    step = max(-(-max(window.height, window.width) // SIDE), 1)
    target = pair.labels.read(window)[::step, ::step]
    colors = palette_of(classes)[target]
    colors[target == IGNORE] = 255
    return draw_image(pair.scene, window, step), colors
