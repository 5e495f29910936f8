"""Areas in, samples out: square windows at random, each a function of (seed, index).

Nothing else decides what a sample is, neither workers nor the order of reading,
so a resumed run or one on more machines sees the same samples.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from geofm.errors import LabelError, TilingError
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.area import Area, cells, intersection
from geofm.tiles.statistics import BLOCK
from geofm.tiles.transforms import TURNS, turn

CELL = 256
"""Side of the cells that the cache keeps, pixels: the usual block of a tiled GeoTIFF."""


Counts = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """One window's pixels as tensors; a batch of them has B in front of each shape.

    Attributes:
        dn: (T, C, H, W) float32, stored numbers; 0 where padded.
        valid: (T, H, W) bool; False where padded.
        target: (H, W) uint8 class codes; `IGNORE` where unlabelled or padded.
        scale, offset: (T, C) float32; reflectance is ``dn * scale + offset``.
        number: () int64, the index that the sample follows from.
    """

    dn: Tensor
    valid: Tensor
    target: Tensor
    scale: Tensor
    offset: Tensor
    number: Tensor


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
    sample is padded with invalid pixels.

    Args:
        areas: where samples may lie; pixels outside are never read.
        spots: where their centres may lie, as `valid_spots` or `label_spots` give.
        size: side of a sample, pixels.
        length: number of samples.
        seed: of the draw.
        light: reflectance of a sample is multiplied by ``exp(u)``, ``u`` drawn
            from ``-light`` to ``light``: thin shadow, haze, another sun.
        cache_bytes: decoded pixels kept, at most, in this process.

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
        cache_bytes: int = 256 * 2**20,
    ) -> None:
        self.areas = tuple(areas)
        self.spots = tuple(spot for spot in spots if spot.weight > 0)
        if not self.spots:
            raise TilingError("no part of the training area has pixels to learn from")
        self.size = size
        self.length = length
        self.seed = seed
        self.light = light
        weights = np.cumsum([spot.weight for spot in self.spots])
        self._cumulated = weights / weights[-1]
        self._cache = CellCache(self.areas, limit=cache_bytes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        draw = self.draw(index)
        dn, valid, target = self._cache.read(draw.area, draw.place, draw.window)
        scene = self.areas[draw.area].scene
        return Sample(
            self._square(torch.from_numpy(dn.astype(np.float32)), 0, draw),
            self._square(torch.from_numpy(valid), False, draw),
            self._square(torch.from_numpy(target), IGNORE, draw),
            torch.from_numpy(scene.scale * draw.gain),
            torch.from_numpy(scene.offset * draw.gain),
            torch.tensor(index),
        )

    def draw(self, index: int) -> "Draw":
        """What sample ``index`` will be; reads nothing."""
        random = np.random.default_rng([self.seed, index])
        chosen = np.searchsorted(self._cumulated, random.random(), side="right")
        area, place, spot, _ = self.spots[int(chosen)]
        row = spot.row + int(random.integers(spot.height))
        col = spot.col + int(random.integers(spot.width))
        window = _around(row, col, size=self.size, place=place)
        code = int(random.integers(TURNS))
        gain = np.exp(random.uniform(-self.light, self.light))
        return Draw(area, place, window, code, np.float32(gain))

    def _square(self, image: Tensor, fill: int, draw: "Draw") -> Tensor:
        bottom, right = self.size - draw.window.height, self.size - draw.window.width
        return turn(functional.pad(image, (0, right, 0, bottom), value=fill), draw.turn)


class Draw(NamedTuple):
    """Which area, which of its windows, where inside it, how turned, how bright."""

    area: int
    place: Window
    window: Window
    turn: int
    gain: np.float32


def _around(row: int, col: int, *, size: int, place: Window) -> Window:
    """A window around a pixel, moved into its place, and cut to it where that is smaller."""
    height, width = min(size, place.height), min(size, place.width)
    return Window(
        min(max(row - height // 2, place.row), place.stop_row - height),
        min(max(col - width // 2, place.col), place.stop_col - width),
        height,
        width,
    )


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


class Cell(NamedTuple):
    """Stored numbers (T, C, H, W), their validity (T, H, W), class codes (H, W)."""

    dn: np.ndarray
    valid: np.ndarray
    target: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.dn.nbytes + self.valid.nbytes + self.target.nbytes


class CellCache:
    """Decoded cells of areas, the last used ones, up to a limit in bytes.

    A window is put together from the cells of the place it lies in; a cell
    ends where its place ends, so nothing outside is read.
    """

    def __init__(self, areas: Sequence[Area], *, limit: int) -> None:
        self._areas = areas
        self._limit = limit
        self._held = 0
        self._cells: OrderedDict[tuple[int, Window], Cell] = OrderedDict()

    def read(self, area: int, place: Window, window: Window) -> Cell:
        """Pixels of a window: dn (T, C, H, W), valid (T, H, W), target (H, W)."""
        parts = []
        for shared in cells(window, size=CELL):
            row, col = shared.row - shared.row % CELL, shared.col - shared.col % CELL
            corner = intersection(Window(row, col, CELL, CELL), place)
            parts.append((shared, corner, self._cell(area, corner)))
        whole = Cell(
            *(
                np.empty((*part.shape[:-2], window.height, window.width), part.dtype)
                for part in parts[0][2]
            )
        )
        for shared, corner, cell in parts:
            into, source = _inside(shared, window).slices, _inside(shared, corner).slices
            for target, part in zip(whole, cell, strict=True):
                target[(..., *into)] = part[(..., *source)]
        return whole

    def _cell(self, area: int, window: Window) -> Cell:
        key = (area, window)
        if key in self._cells:
            self._cells.move_to_end(key)
            return self._cells[key]
        scene, labels = self._areas[area].scene, self._areas[area].labels
        stored = scene.read_stored(window)
        unlabelled = np.full((window.height, window.width), IGNORE, np.uint8)
        cell = Cell(stored.dn, stored.valid, labels.read(window) if labels else unlabelled)
        self._cells[key] = cell
        self._held += cell.nbytes
        while self._held > self._limit and len(self._cells) > 1:
            self._held -= self._cells.popitem(last=False)[1].nbytes
        return cell


def _inside(window: Window, outer: Window) -> Window:
    """The same window, counted from the corner of ``outer``."""
    return window._replace(row=window.row - outer.row, col=window.col - outer.col)
