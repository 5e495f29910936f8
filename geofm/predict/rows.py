"""Read a strip of a scene from top to bottom, each source block once, ahead of the model."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from geofm.scenes.reader import Scene, StoredPixels
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
    starts = [needs[0].row, *stops[:-1]]
    col, width = needs[0].col, needs[0].width

    def ask(i: int) -> _Arriving:
        return _Arriving(scene, Window(starts[i], col, stops[i] - starts[i], width), readers)

    held: Rows | None = None
    arriving = ask(0)
    try:
        for i, need in enumerate(needs):
            arrived = arriving.wait(min_valid_dates)
            if i + 1 < len(needs):
                arriving = ask(i + 1)
            held = arrived if held is None else _join(held, arrived, need.row)
            yield _cut(held, need)
    finally:
        arriving.cancel()


class _Arriving:
    """Rows that the reader threads are bringing in."""

    def __init__(self, scene: Scene, area: Window, readers: ThreadPoolExecutor) -> None:
        self.scene, self.area = scene, area
        self.inside = area.clip(*scene.shape)
        self.parts: list[tuple[Window, Future[StoredPixels]]] = []
        if self.inside.height:
            for part in _column_parts(self.inside, scene.block_shape[1]):
                self.parts.append((part, readers.submit(scene.read_stored, part)))

    def wait(self, min_valid_dates: int) -> Rows:
        dates, bands = len(self.scene.dates), len(self.scene.bands)
        _, _, height, width = self.area
        dn = np.zeros((dates, bands, height, width), self.scene.dtype)
        valid = np.zeros((dates, height, width), bool)
        masked = np.zeros_like(valid)
        while self.parts:
            part, future = self.parts.pop(0)
            pixels = future.result()
            first = part.col - self.area.col
            here = (..., slice(0, part.height), slice(first, first + part.width))
            dn[here], valid[here], masked[here] = pixels.dn, pixels.valid, pixels.masked
        return Rows(self.area, dn, valid, codes_of(valid, masked, min_valid_dates))

    def cancel(self) -> None:
        for _, future in self.parts:
            future.cancel()


def whole_window(values: npt.NDArray[D], size: int) -> npt.NDArray[D]:
    """Pixels (..., h, w) from the corner of a window as (..., size, size), 0 beyond the grid."""
    beyond = [(0, size - length) for length in values.shape[-2:]]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + beyond)


def codes_of(
    valid: npt.NDArray[np.bool_], masked: npt.NDArray[np.bool_], min_valid_dates: int
) -> npt.NDArray[np.uint8]:
    """0 where mapped; MASKED where QA alone keeps a pixel from it; NODATA elsewhere."""
    codes = np.where((valid | masked).sum(0) >= min_valid_dates, MASKED, NODATA)
    return np.where(valid.sum(0) >= min_valid_dates, 0, codes).astype(np.uint8)


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
