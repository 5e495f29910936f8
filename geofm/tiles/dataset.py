"""Areas in, samples out: square windows at random, each a function of (seed, index).

Nothing else decides what a sample is, neither workers nor threads nor the order of
reading, so a resumed run or one on more machines sees the same samples.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geofm.errors import LabelError, SceneError, TilingError
from geofm.scenes.ground import centre
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.area import Area, cells
from geofm.tiles.cache import CellCache
from geofm.tiles.statistics import BLOCK
from geofm.tiles.transforms import TURNS, unturned

ATTEMPTS = 32
"""Windows drawn for one sample, at most, where they will not do."""

Counts = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Gains = npt.NDArray[np.float32]


class Sample(NamedTuple):
    """One window's pixels as tensors; a batch of them has B in front of each shape.

    Attributes:
        dn: (T, C, H, W) float32, stored numbers; 0 where padded.
        valid: (T, H, W) bool; False where padded.
        target: (H, W) uint8 class codes; `IGNORE` where unlabelled or padded.
        scale, offset: (T, C) float32; reflectance is ``dn * scale + offset``.
        number: () int64, the index that the sample follows from.
        when: (T, 2) float32, year and day of the year from 0; NaN where unknown.
        where: (2,) float32, latitude and longitude of its centre; NaN without a CRS.
    """

    dn: Tensor
    valid: Tensor
    target: Tensor
    scale: Tensor
    offset: Tensor
    number: Tensor
    when: Tensor
    where: Tensor


class Spot(NamedTuple):
    """Where samples may have their centre, and how often.

    Attributes:
        area: its number.
        place: the window of the area that a sample stays in.
        window: of the centre, inside ``place``.
        weight: 0 or more.
    """

    area: int
    place: Window
    window: Window
    weight: float


class TileDataset(Dataset[Sample]):
    """Random square windows of areas, flipped and turned.

    A spot is drawn by weight, a pixel inside it, and a window around that,
    moved into the spot's place where it reaches out. A place shorter than a
    sample is padded with invalid pixels. Threads may read at the same time.

    Args:
        areas: where samples may lie; pixels outside are never read.
        spots: where their centres may lie, as `valid_spots` or `label_spots` give.
        size: side of a sample, pixels.
        length: number of samples.
        seed: of the draw.
        light: reflectance of a sample is multiplied by ``exp(u)``, ``u`` drawn
            from ``-light`` to ``light``: thin shadow, haze, another sun.
        tint: beside it, each band's by ``exp(u)`` of its own, all dates alike: other soils,
            leaves and waters than those of the areas.
        cache_bytes: decoded pixels kept, at most, in this process.
        dates: of a sample, T: drawn, ascending, from scenes that have more; 0 for all.
        enough: whether validity (T, H, W) of a sample will do. Another window is
            drawn for one that will not, or that cannot be read; the last of
            `ATTEMPTS` is taken as it is. None takes the first.

    Attributes:
        unreadable: scenes met so far that could not be read, and why.

    Raises:
        TilingError: no spot has a weight above 0.
    """

    def __init__(
        self,
        areas: Sequence[Area],
        spots: Sequence[Spot],
        *,
        size: int,
        length: int,
        seed: int = 0,
        light: float = 0.0,
        tint: float = 0.0,
        cache_bytes: int = 256 * 2**20,
        dates: int = 0,
        enough: Callable[[Bools], bool] | None = None,
    ) -> None:
        self.areas = tuple(areas)
        self.spots = tuple(spot for spot in spots if spot.weight > 0)
        if not self.spots:
            raise TilingError("no part of the training area has pixels to learn from")
        self.size = size
        self.length = length
        self.seed = seed
        self.light = light
        self.tint = tint
        self.dates = dates
        self.enough = enough
        self.unreadable: dict[str, str] = {}
        weights = np.cumsum([spot.weight for spot in self.spots])
        self._cumulated = weights / weights[-1]
        self._cache = CellCache(self.areas, limit=cache_bytes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.enough is None:
            return self.read(self.draw(index), index)
        last: Sample | SceneError | None = None
        for draw in islice(self.draws(index), ATTEMPTS):
            try:
                last = self.read(draw, index)
            except SceneError as error:
                self.unreadable[self.areas[draw.area].scene.id] = str(error)
                last = last or error
            else:
                if self.enough(last.valid.numpy()):
                    return last
        if isinstance(last, Sample):
            return last
        assert last is not None
        raise last

    def draw(self, index: int) -> "Draw":
        """What sample ``index`` will be, if that will do; reads nothing."""
        return next(self.draws(index))

    def draws(self, index: int) -> "Iterator[Draw]":
        """What sample ``index`` may be, the first choice first, without end; reads nothing."""
        random = np.random.default_rng([self.seed, index])
        while True:
            chosen = np.searchsorted(self._cumulated, random.random(), side="right")
            area, place, spot, _ = self.spots[int(chosen)]
            row = spot.row + int(random.integers(spot.height))
            col = spot.col + int(random.integers(spot.width))
            window = _around(row, col, size=self.size, place=place)
            code = int(random.integers(TURNS))
            light = random.uniform(-self.light, self.light)
            scene = self.areas[area].scene
            dates = self._draw_dates(len(scene.dates), random)
            tint = np.zeros(len(scene.bands))
            if self.tint:  # drawn last, so that without it all else is as it was
                tint = random.uniform(-self.tint, self.tint, len(scene.bands))
            gain = np.exp(light + tint).astype(np.float32)
            yield Draw(area, place, window, code, gain, dates)

    def _draw_dates(self, count: int, random: np.random.Generator) -> tuple[int, ...]:
        if not self.dates or count == self.dates:
            return tuple(range(count))
        return tuple(sorted(random.choice(count, self.dates, replace=False).tolist()))

    def read(self, draw: "Draw", index: int) -> Sample:
        """The sample that a draw says, under this number."""
        scene, dates = self.areas[draw.area].scene, list(draw.dates)
        height, width, size = draw.window.height, draw.window.width, self.size
        padded = height < size or width < size
        # Numbers go straight from the cells to their place in the turned tensor.
        make = np.zeros if padded else np.empty
        dn = make((len(dates), len(scene.bands), size, size), np.float32)
        valid = make((len(dates), size, size), np.bool_)
        target = np.full((size, size), IGNORE, np.uint8)
        part = (..., slice(height), slice(width))
        self._cache.read(
            draw.area,
            draw.place,
            draw.window,
            dates=draw.dates,
            dn=unturned(dn, draw.turn)[part],
            valid=unturned(valid, draw.turn)[part],
            target=unturned(target, draw.turn)[part],
        )
        return Sample(
            torch.from_numpy(dn),
            torch.from_numpy(valid),
            torch.from_numpy(target),
            torch.from_numpy(scene.scale[dates] * draw.gain),
            torch.from_numpy(scene.offset[dates] * draw.gain),
            torch.tensor(index),
            torch.tensor([_day_of_year(scene.dates[at]) for at in dates]),
            torch.tensor(centre(scene.geobox, draw.window), dtype=torch.float32),
        )


class Draw(NamedTuple):
    """Which area, which of its windows, where inside it, how turned, how bright, which dates.

    Attributes:
        gain: (C,), what reflectance is multiplied by.
    """

    area: int
    place: Window
    window: Window
    turn: int
    gain: Gains
    dates: tuple[int, ...]


def _around(row: int, col: int, *, size: int, place: Window) -> Window:
    """A window around a pixel, moved into its place, and cut to it where that is smaller."""
    height, width = min(size, place.height), min(size, place.width)
    return Window(
        min(max(row - height // 2, place.row), place.stop_row - height),
        min(max(col - width // 2, place.col), place.stop_col - width),
        height,
        width,
    )


def _day_of_year(day: date | None) -> tuple[float, float]:
    """Year, and day of the year from 0; NaN where unknown."""
    if day is None:
        return float("nan"), float("nan")
    return float(day.year), float(day.timetuple().tm_yday - 1)


def valid_spots(areas: Sequence[Area], valid: Sequence[Sequence[Sequence[int]]]) -> list[Spot]:
    """Spots weighed by their valid pixels, as `BandStatistics.valid` counts them.

    A scene may be half fill; drawn over all of it, half of the samples were empty.
    """
    return [
        Spot(number, place, window, count)
        for number, (area, counts) in enumerate(zip(areas, valid, strict=True))
        for place, found in zip(area.windows, counts, strict=True)
        for window, count in zip(cells(place, size=BLOCK), found, strict=True)
    ]


def label_spots(areas: Sequence[Area], *, classes: int, size: int) -> list[Spot]:
    """Spots weighed by their labelled pixels, each class as the root of its pixels in all.

    By its pixels alone a rare class would hardly be met; met as often as the
    others, it would be mapped too often.

    Args:
        classes: number of classes, K.
        size: side of a spot, pixels; samples of about this size show its labels.

    Raises:
        LabelError: an area has no labels, fewer than two classes are labelled, or
            a code is neither a class nor `IGNORE`.
    """
    found: list[tuple[int, Window, Window, Counts]] = []
    for number, area in enumerate(areas):
        if area.labels is None:
            raise LabelError(f"{area.scene.id} has no labels; give it labels or leave it out")
        for place in area.windows:
            for window in cells(place, size=size):
                counts = np.bincount(area.labels.read(window).ravel(), minlength=IGNORE + 1)
                strange = np.flatnonzero(counts[classes:IGNORE]) + classes
                if len(strange):
                    raise LabelError(
                        f"{area.scene.id}: labels hold code {strange[0]}; needed 0 to "
                        f"{classes - 1}, or {IGNORE} for unlabelled; say which code means "
                        "which class"
                    )
                found.append((number, place, window, counts[:classes]))
    everywhere = np.sum([counts for _, _, _, counts in found], axis=0)
    if not everywhere.any():
        raise LabelError(
            "no pixel of the training area is labelled with a class; check that the labels lie "
            "on the scenes, and which of their codes mean which class"
        )
    if np.count_nonzero(everywhere) == 1:
        raise LabelError(
            f"all labels of the training area are class {int(np.argmax(everywhere))}; needed two "
            "classes or more; if a nodata value hides one, say what each code means (classes=)"
        )
    share = 1 / np.sqrt(np.maximum(everywhere, 1))
    return [
        Spot(number, place, window, float(counts @ share))
        for number, place, window, counts in found
    ]
