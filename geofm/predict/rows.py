"""Read a strip of a scene from top to bottom, each source block once, ahead of the model."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import MASKED, NODATA

D = TypeVar("D", bound=np.generic)
# A file whose blocks are higher than this is read by rows; aligning would hold it whole.
MAX_ALIGNED_ROWS = 2048
# Columns that one reader thread takes at a time, rounded to the file's blocks.
READ_COLS = 1024


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a strip, in stored numbers.

    Attributes:
        area: where they lie in the grid.
        dn: (T, C, height, width).
        valid: (T, height, width) bool.
        codes: (height, width) uint8, 0 where enough dates are valid, else MASKED or NODATA.
    """

    area: Window
    dn: npt.NDArray[np.generic]
    valid: npt.NDArray[np.bool_]
    codes: npt.NDArray[np.uint8]


def source_rows(scene: Scene, needed: int) -> int:
    """Rows that one read brings in when ``needed`` new rows are asked for."""
    align = alignment(scene)
    return -(-needed // align) * align + align


def read_rows(
    scene: Scene,
    needs: Sequence[Window],
    *,
    min_valid_dates: int,
    readers: ThreadPoolExecutor,
) -> Iterator[Rows]:
    """Yield the rows of each window of ``needs``, the next ones being read meanwhile.

    Args:
        scene: with the model's bands in the model's order.
        needs: same columns, rows ascending without a gap; parts outside the scene
            come as invalid pixels.
        min_valid_dates: dates on which a pixel must be valid.
    """
    height = scene.shape[0]
    align = alignment(scene)
    stops = [min(-(-min(need.stop_row, height) // align) * align, height) for need in needs]
    # Blocks of a file are often higher than a step: some needs bring no new rows.
    borders = [needs[0].row, *dict.fromkeys(stops)]
    col, width = needs[0].col, needs[0].width
    areas = [Window(row, col, stop - row, width) for row, stop in pairwise(borders)]

    def ask() -> _Arriving | None:
        return _Arriving(scene, areas.pop(0), min_valid_dates, readers) if areas else None

    held: Rows | None = None
    arriving = ask()
    try:
        for need, stop in zip(needs, stops, strict=True):
            while arriving and (held is None or held.area.stop_row < stop):
                arrived = arriving.wait()
                arriving = ask()
                held = arrived if held is None else _join(held, arrived, need.row)
            assert held is not None
            yield _cut(held, need)
    finally:
        if arriving:
            arriving.cancel()


class _Arriving:
    """Rows that the reader threads are bringing in, each its columns."""

    def __init__(
        self, scene: Scene, area: Window, min_valid_dates: int, readers: ThreadPoolExecutor
    ) -> None:
        self.scene, self.min_valid_dates = scene, min_valid_dates
        size = (area.height, area.width)
        # Not filled here: the threads that do are then the first to touch the memory.
        self.rows = Rows(
            area,
            np.empty((len(scene.dates), len(scene.bands), *size), scene.dtype),
            np.empty((len(scene.dates), *size), np.bool_),
            np.empty(size, np.uint8),
        )
        inside = area.clip(*scene.shape)
        self._put(slice(inside.width, None), 0, False, NODATA)
        parts = _column_parts(inside, scene.block_shape[1])
        self.parts = [readers.submit(self._fill, part) for part in parts]

    def _fill(self, part: Window) -> None:
        pixels = self.scene.read_stored(part)
        first = part.col - self.rows.area.col
        codes = codes_of(pixels.valid, pixels.masked, self.min_valid_dates)
        self._put(slice(first, first + part.width), pixels.dn, pixels.valid, codes)

    def _put(
        self, cols: slice, dn: npt.ArrayLike, valid: npt.ArrayLike, codes: npt.ArrayLike
    ) -> None:
        here = (..., cols)
        self.rows.dn[here], self.rows.valid[here], self.rows.codes[here] = dn, valid, codes

    def wait(self) -> Rows:
        for part in self.parts:
            part.result()
        return self.rows

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()


def whole_window(values: npt.NDArray[D], size: int) -> npt.NDArray[D]:
    """Pixels (..., h, w) from the corner of a window as (..., size, size), 0 beyond the grid."""
    beyond = [(0, size - length) for length in values.shape[-2:]]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + beyond)


def codes_of(
    valid: npt.NDArray[np.bool_], masked: npt.NDArray[np.bool_], min_valid_dates: int
) -> npt.NDArray[np.uint8]:
    """0 where mapped; MASKED where QA alone keeps a pixel from it; NODATA elsewhere."""
    codes = np.full(valid.shape[1:], NODATA, np.uint8)
    codes[(valid | masked).sum(axis=0, dtype=np.uint16) >= min_valid_dates] = MASKED
    codes[valid.sum(axis=0, dtype=np.uint16) >= min_valid_dates] = 0
    return codes


def _join(held: Rows, arrived: Rows, row: int) -> Rows:
    """The held rows from ``row`` on, followed by those that arrived."""
    drop = min(row - held.area.row, held.area.height)
    area = Window(
        held.area.row + drop,
        held.area.col,
        held.area.height - drop + arrived.area.height,
        held.area.width,
    )
    return Rows(
        area,
        np.concatenate([held.dn[:, :, drop:], arrived.dn], axis=2),
        np.concatenate([held.valid[:, drop:], arrived.valid], axis=1),
        np.concatenate([held.codes[drop:], arrived.codes], axis=0),
    )


def _cut(held: Rows, need: Window) -> Rows:
    """The needed rows as views; rows below the scene's end come as invalid copies."""
    first = need.row - held.area.row
    stop = min(first + need.height, held.area.height)
    missing = need.height - (stop - first)
    dn, valid, codes = held.dn[:, :, first:stop], held.valid[:, first:stop], held.codes[first:stop]
    if missing:
        dn = np.pad(dn, [(0, 0), (0, 0), (0, missing), (0, 0)])
        valid = np.pad(valid, [(0, 0), (0, missing), (0, 0)])
        codes = np.pad(codes, [(0, missing), (0, 0)], constant_values=NODATA)
    return Rows(need, dn, valid, codes)


def alignment(scene: Scene) -> int:
    """Rows of a file that are decoded together; 1 where they are too many to hold."""
    rows = scene.block_shape[0]
    return rows if rows <= MAX_ALIGNED_ROWS else 1


def _column_parts(area: Window, block_cols: int) -> Iterator[Window]:
    """Cut rows into columns for the reader threads, on borders of the file's blocks."""
    step = max(READ_COLS // block_cols, 1) * block_cols
    col = area.col
    while col < area.stop_col:
        stop = min((col // step + 1) * step, area.stop_col)
        yield Window(area.row, col, area.height, stop - col)
        col = stop
