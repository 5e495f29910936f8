"""Labels of areas: how many of their pixels count, and fixed windows over them.

`TileDataset` draws windows anew for each sample. What is to be met again and
again, such as the windows of a score or of kept features, stands here.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from geofm.errors import LabelError
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.area import Area, intersection
from geofm.tiles.dataset import Counts, Draw, Sample, Spot, TileDataset
from geofm.tiles.windows import axis_starts


def valid_label_spots(
    areas: Sequence[Area], spots: Sequence[Spot], *, classes: int, min_valid_dates: int
) -> tuple[list[Spot], Counts]:
    """Spots weighed by their labelled pixels that are valid too, and these pixels by class.

    Labels under cloud or on fill teach nothing: a spot that holds no others is
    left out.

    Args:
        spots: as `label_spots` gives them.
        classes: number of classes, K.
        min_valid_dates: on which a pixel must be valid to count.

    Returns:
        The spots, and (K,) pixels in all.

    Raises:
        LabelError: fewer than two classes are labelled on valid pixels.
    """
    spots = [spot for spot in spots if spot.weight > 0]
    counts = np.array(
        [_count(areas[spot.area], spot.window, classes, min_valid_dates) for spot in spots]
    )
    pixels: Counts = counts.sum(axis=0)
    if np.count_nonzero(pixels) < 2:
        held = f"only of class {int(np.argmax(pixels))}" if pixels.any() else "nowhere"
        raise LabelError(
            f"where scenes are valid, pixels are labelled {held}; all other labels lie on fill or "
            "on what quality sets aside (geofm info SCENE); label other places, or set less aside "
            "(masked_qa=)"
        )
    share = 1 / np.sqrt(np.maximum(pixels, 1))
    weighed = [
        spot._replace(weight=float(found @ share))
        for spot, found in zip(spots, counts, strict=True)
    ]
    return [spot for spot in weighed if spot.weight > 0], pixels


def _count(area: Area, window: Window, classes: int, min_valid_dates: int) -> Counts:
    """Labelled, valid pixels of a window by class: (K,)."""
    assert area.labels is not None
    codes = area.labels.read(window)
    enough = area.scene.read_stored(window).valid.sum(axis=0) >= min_valid_dates
    return np.bincount(codes[enough & (codes < classes)], minlength=classes)


class FixedWindow(NamedTuple):
    """A window of a place of an area, and the part whose pixels it answers for."""

    area: int
    place: Window
    window: Window
    owned: Window


class FixedWindows:
    """Windows that cover areas, as samples by number: upright, as bright as they are.

    The last window of a row or column moves back to end on the edge of its
    place, as in mapping.

    Args:
        areas: with labels.
        size: side of a window, pixels.
        overlap: pixels shared by neighbours.
        once: a labelled pixel counts in the first window that shows it alone;
            elsewhere it is unlabelled.
        classes: number of classes, K; windows without a label of one are left out.
        cache_bytes: decoded pixels kept, at most.

    Raises:
        LabelError: no window holds a label.
    """

    def __init__(
        self,
        areas: Sequence[Area],
        *,
        size: int,
        overlap: int = 0,
        once: bool = False,
        classes: int,
        cache_bytes: int = 128 * 2**20,
    ) -> None:
        covering = [
            window
            for number, area in enumerate(areas)
            for place in area.windows
            for window in _windows_over(number, place, size=size, overlap=overlap)
        ]
        if not once:
            covering = [window._replace(owned=window.window) for window in covering]
        counts = [_labels_of(areas[w.area], w.owned, classes) for w in covering]
        self.windows = [w for w, found in zip(covering, counts, strict=True) if found.any()]
        if not self.windows:
            raise LabelError(
                "no pixel of these areas is labelled with a class; check that the labels lie on "
                "the scenes, and which of their codes mean which class"
            )
        self.pixels: Counts = np.array([found for found in counts if found.any()])
        self._size = size
        self._dates = [tuple(range(len(area.scene.dates))) for area in areas]
        self._tiles = TileDataset(
            areas,
            [Spot(w.area, w.place, w.window, 1.0) for w in self.windows],
            size=size,
            length=len(self.windows),
            cache_bytes=cache_bytes,
        )

    def __len__(self) -> int:
        return len(self.windows)

    def draw(self, index: int) -> Draw:
        """What window ``index`` is; reads nothing."""
        area, place, window, _ = self.windows[index]
        gain = np.ones(len(self._tiles.areas[area].scene.bands), np.float32)
        return Draw(area, place, window, 0, gain, self._dates[area])

    def __getitem__(self, index: int) -> Sample:
        window, owned = self.windows[index][2:]
        sample = self._tiles.read(self.draw(index), index)
        row, col = owned.row - window.row, owned.col - window.col
        target = sample.target.new_full((self._size, self._size), IGNORE)
        here = (slice(row, row + owned.height), slice(col, col + owned.width))
        target[here] = sample.target[here]
        return sample._replace(target=target)


class DrawnWindows:
    """Fixed windows as samples without end: each once, then those of rare classes more often.

    So what is computed once for each window is computed in the first samples, in
    whole batches. Sample ``i`` follows from the seed and ``i`` alone.
    """

    def __init__(self, windows: FixedWindows, *, seed: int = 0) -> None:
        self.windows = windows
        self.seed = seed
        self._first = np.random.default_rng([seed, len(windows)]).permutation(len(windows))
        share = 1 / np.sqrt(np.maximum(windows.pixels.sum(axis=0), 1))
        weights = np.cumsum(windows.pixels @ share)
        self._cumulated = weights / weights[-1]

    def draw(self, index: int) -> Draw:
        """What sample ``index`` will be; reads nothing."""
        return self.windows.draw(self._which(index))

    def __getitem__(self, index: int) -> Sample:
        return self.windows[self._which(index)]

    def _which(self, index: int) -> int:
        if index < len(self._first):
            return int(self._first[index])
        drawn = np.random.default_rng([self.seed, index]).random()
        return int(np.searchsorted(self._cumulated, drawn, side="right"))


def _labels_of(area: Area, window: Window, classes: int) -> Counts:
    """Labelled pixels of a window by class: (K,)."""
    if area.labels is None:
        raise LabelError(f"{area.scene.id} has no labels; give it labels or leave it out")
    codes = area.labels.read(window)
    return np.bincount(codes[codes < classes], minlength=classes)


def _windows_over(area: int, place: Window, *, size: int, overlap: int) -> list[FixedWindow]:
    rows = axis_starts(place.height, size=size, overlap=overlap)
    cols = axis_starts(place.width, size=size, overlap=overlap)
    return [
        FixedWindow(
            area,
            place,
            intersection(Window(place.row + row, place.col + col, size, size), place),
            intersection(
                Window(place.row + top, place.col + left, row + size - top, col + size - left),
                place,
            ),
        )
        for row, top in zip(rows, _unseen(rows, size), strict=True)
        for col, left in zip(cols, _unseen(cols, size), strict=True)
    ]


def _unseen(starts: list[int], size: int) -> list[int]:
    """Where each window begins to show what the one before it did not.

    >>> _unseen([0, 4, 6], 4)
    [0, 4, 8]
    """
    return [0, *(max(start, before + size) for before, start in pairwise(starts))]
