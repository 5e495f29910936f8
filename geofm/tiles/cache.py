"""Decoded cells of areas, the last used ones, up to a limit in bytes."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geofm.scenes.window import Window
from geofm.tiles.area import Area, cells, intersection

CELL = 256
"""Side of the cells that the cache keeps, pixels: the usual block of a tiled GeoTIFF."""

Array = npt.NDArray[Any]


class _Key(NamedTuple):
    """Which area, which part of it, which of its dates; -1 for its labels."""

    area: int
    window: Window
    date: int


_LABELS = -1


class Cell(NamedTuple):
    """One date's stored numbers (C, H, W) and their validity (H, W), or class codes (H, W)."""

    pixels: Array
    valid: Array | None = None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + (0 if self.valid is None else self.valid.nbytes)


class CellCache:
    """Windows of areas, put together from cells that are decoded once.

    A cell ends where its place ends, so nothing outside is read. Threads may
    read at the same time: who needs a cell that another is decoding waits for it.
    """

    def __init__(self, areas: Sequence[Area], *, limit: int) -> None:
        self._areas = areas
        self._limit = limit
        self._held = 0
        self._lock = Lock()
        self._cells: OrderedDict[_Key, Cell] = OrderedDict()
        self._coming: dict[_Key, Future[Cell]] = {}

    def __getstate__(self) -> tuple[Sequence[Area], int]:
        # To another process goes what to read, not what was read.
        return self._areas, self._limit

    def __setstate__(self, state: tuple[Sequence[Area], int]) -> None:
        self.__init__(state[0], limit=state[1])  # type: ignore[misc]

    def read(
        self,
        area: int,
        place: Window,
        window: Window,
        *,
        dates: Sequence[int],
        dn: Array,
        valid: Array,
        target: Array,
    ) -> None:
        """Write the pixels of a window of a place where the caller wants them.

        Args:
            dates: of the area's scene, T of them.
            dn: (T, C, H, W), stored numbers.
            valid: (T, H, W) bool.
            target: (H, W) class codes; left as it is where the area has no labels.
        """
        labelled = self._areas[area].labels is not None
        layers = [*dates, _LABELS] if labelled else list(dates)
        for shared in cells(window, size=CELL):
            row, col = shared.row - shared.row % CELL, shared.col - shared.col % CELL
            corner = intersection(Window(row, col, CELL, CELL), place)
            into, source = _inside(shared, window).slices, _inside(shared, corner).slices
            found = self._cells_of([_Key(area, corner, layer) for layer in layers])
            for t, cell in enumerate(found[: len(dates)]):
                assert cell.valid is not None
                with np.errstate(all="ignore"):  # fills may overflow; they are not valid
                    dn[(t, slice(None), *into)] = cell.pixels[(slice(None), *source)]
                valid[(t, *into)] = cell.valid[source]
            if labelled:
                target[into] = found[-1].pixels[source]

    def _cells_of(self, keys: Sequence[_Key]) -> list[Cell]:
        """The cells of one window's layers, decoding together those that nobody has or decodes."""
        with self._lock:
            held = {key: self._cells[key] for key in keys if key in self._cells}
            for key in held:
                self._cells.move_to_end(key)
            mine = [key for key in keys if key not in held and key not in self._coming]
            self._coming |= {key: Future() for key in mine}
            coming = {key: self._coming[key] for key in keys if key not in held}
        if mine:
            self._decode(mine)
        return [held[key] if key in held else coming[key].result() for key in keys]

    def _decode(self, keys: Sequence[_Key]) -> None:
        try:
            decoded = self._read(keys)
        except BaseException as error:
            with self._lock:
                for key in keys:
                    self._coming.pop(key).set_exception(error)
            raise
        with self._lock:
            for key, cell in zip(keys, decoded, strict=True):
                self._cells[key] = cell
                self._held += cell.nbytes
                self._coming.pop(key).set_result(cell)
            while self._held > self._limit and len(self._cells) > 1:
                self._held -= self._cells.popitem(last=False)[1].nbytes

    def _read(self, keys: Sequence[_Key]) -> list[Cell]:
        """Cells of one window, the dates in one call: their files may hold several."""
        area, window, _ = keys[0]
        scene, labels = self._areas[area].scene, self._areas[area].labels
        dates = [key.date for key in keys if key.date != _LABELS]
        found: list[Cell] = []
        if dates:
            stored = scene.read_stored(window, dates=dates)
            # A cell of its own memory: one that is dropped must not be kept by its neighbours.
            own = np.copy if len(dates) > 1 else np.ascontiguousarray
            found = [Cell(own(stored.dn[t]), own(stored.valid[t])) for t in range(len(dates))]
        if len(dates) < len(keys):
            assert labels is not None
            found.append(Cell(labels.read(window)))
        return found


def _inside(window: Window, outer: Window) -> Window:
    """The same window, counted from the corner of ``outer``."""
    return window._replace(row=window.row - outer.row, col=window.col - outer.col)
