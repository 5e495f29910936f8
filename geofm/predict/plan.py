"""How a grid is mapped: windows anchored to the whole grid, and work in bounded memory.

The `WindowPlan` decides the result: which windows see a pixel, and with what
weight. The `Layout` decides only the order and the memory: the grid is cut into
column strips, each walked from top to bottom in blocks of whole window rows, so
that a buffer as high as one block holds all that is unfinished. Any layout of one
plan gives the same bytes.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np
import numpy.typing as npt

from geofm.errors import ConfigError
from geofm.scenes.window import Window
from geofm.tiles.windows import axis_starts

GIB = 2**30
# What a run needs whatever the size of the scene: GDAL's cache, the buffers of one
# batch, the pieces in flight to the writer, and slack of the allocator.
FIXED_BYTES = 384 * 2**20
# Elements of (classes, rows, columns) that are turned into probabilities at a time.
PIECE_ELEMENTS = 2**21
# Windows on the border of two strips are computed in both. With this many columns a
# strip repeats less than 2 % of them; a wider one would only take more memory.
ENOUGH_COLS = 64


@dataclass(frozen=True)
class WindowPlan:
    """The windows that map a grid, as the product of row starts and column starts.

    Attributes:
        height, width: the grid, pixels.
        size: window side, pixels.
        overlap: pixels that neighbours share.
    """

    height: int
    width: int
    size: int
    overlap: int

    @cached_property
    def rows(self) -> list[int]:
        return axis_starts(self.height, size=self.size, overlap=self.overlap)

    @cached_property
    def cols(self) -> list[int]:
        return axis_starts(self.width, size=self.size, overlap=self.overlap)

    @property
    def passes(self) -> float:
        """Forward passes a pixel: window pixels over grid pixels."""
        return len(self.rows) * len(self.cols) * self.size**2 / (self.height * self.width)

    def spread(self) -> Iterator[Window]:
        """Every window once, the first of many from all over the grid."""
        count = len(self.rows) * len(self.cols)
        # Steps of the golden ratio, made a number that shares no divisor with the count.
        step = max(round(count * 0.618), 1)
        while gcd(step, count) > 1:
            step += 1
        for i in range(count):
            row, col = divmod(i * step % count, len(self.cols))
            yield Window(self.rows[row], self.cols[col], self.size, self.size)

    def rows_over(self, start: int, stop: int) -> range:
        """Indexes of the window rows that see any of the pixel rows ``start`` to ``stop``."""
        return _overlapping(self.rows, self.size, start, stop)

    def cols_over(self, start: int, stop: int) -> range:
        """Indexes of the window columns that see any of the pixel columns."""
        return _overlapping(self.cols, self.size, start, stop)

    @cached_property
    def weight(self) -> npt.NDArray[np.float32]:
        """(size,) weight of a window's pixels along one side; a pixel's is the product of two.

        1 inside and falling as a squared sine over the overlap, so that a window's
        edge, where the encoder sees least around it, fades out instead of ending.
        """
        distance = np.minimum(np.arange(self.size) + 0.5, self.size - np.arange(self.size) - 0.5)
        ramp = np.clip(distance / self.overlap, 0, 1) if self.overlap else np.ones(self.size)
        return np.asarray(np.sin(ramp * np.pi / 2) ** 2, np.float32)

    @cached_property
    def row_norm(self) -> npt.NDArray[np.float32]:
        """(height,) sum of the weights on each pixel row."""
        return _weight_sum(self.rows, self.height, self.weight)

    @cached_property
    def col_norm(self) -> npt.NDArray[np.float32]:
        """(width,) sum of the weights on each pixel column."""
        return _weight_sum(self.cols, self.width, self.weight)

    @cached_property
    def row_edges(self) -> npt.NDArray[np.bool_]:
        """(height,) true where a window begins or ends between this row and the one above."""
        return _edges(self.rows, self.height, self.size)

    @cached_property
    def col_edges(self) -> npt.NDArray[np.bool_]:
        """(width,) true where a window begins or ends between this column and the one before."""
        return _edges(self.cols, self.width, self.size)


@dataclass(frozen=True, slots=True)
class Block:
    """Pixels that are finished and recorded together.

    Attributes:
        index: place in the order of work.
        area: the pixels it owns.
        window_rows: of the plan's window rows it adds, the first and one past the last.
    """

    index: int
    area: Window
    window_rows: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Column strips, and the window rows that one block takes.

    Attributes:
        area: the part of the grid to map; None for all of it.
    """

    strip_width: int
    block_rows: int
    area: Window | None = None

    def strips(self, plan: WindowPlan) -> list[list[Block]]:
        """The blocks of each strip from top to bottom; together they cover the area once."""
        strips: list[list[Block]] = []
        index = 0
        area = self.area or Window(0, 0, plan.height, plan.width)
        stop_at = plan.rows_over(area.row, area.stop_row).stop
        # Windows that begin above the area are added by whoever walks down from its first block.
        groups = range(bisect_right(plan.rows, area.row) - 1, stop_at, self.block_rows)
        for col in range(area.col, area.stop_col, self.strip_width):
            width = min(self.strip_width, area.stop_col - col)
            blocks = []
            for first in groups:
                last = min(first + self.block_rows, stop_at)
                top = max(plan.rows[first], area.row)
                stop = plan.rows[last] if last < stop_at else area.stop_row
                blocks.append(Block(index, Window(top, col, stop - top, width), (first, last)))
                index += 1
            strips.append(blocks)
        return strips


def pieces(area: Window, classes: int) -> Iterator[Window]:
    """Cut a block into columns whose probabilities fit a bounded buffer."""
    width = max(PIECE_ELEMENTS // (classes * area.height), 1)
    for col in range(area.col, area.stop_col, width):
        yield Window(area.row, col, area.height, min(width, area.stop_col - col))


def plan_layout(
    plan: WindowPlan,
    *,
    classes: int,
    input_bytes: int,
    source_rows: int,
    batch: int,
    memory: int,
) -> Layout:
    """Choose strips as wide as the memory allows and as is of use.

    Args:
        classes: classes K; the unfinished rows hold K float32 a pixel.
        input_bytes: stored bytes of one pixel over all dates and bands, with validity.
        source_rows: rows that one read brings in, from the block height of the file.
        batch: windows a forward pass takes; a block holds a few batches, as many as
            leave least of them padding.
        memory: bytes, the ceiling over the model itself.

    Raises:
        ConfigError: not even a strip one window wide fits.
    """
    spare = memory - FIXED_BYTES
    step = plan.size - plan.overlap

    def column(rows: int) -> int:
        return _column_bytes(
            plan, rows, classes=classes, input_bytes=input_bytes, source_rows=source_rows
        )

    # Windows reach up to their own side beyond the strip, left and right.
    beside = 2 * plan.size
    widest = min(spare // column(1) - beside, ENOUGH_COLS * step)
    if widest < min(plan.width, step):
        needed = (column(1) * (plan.size + beside) + FIXED_BYTES) / GIB
        raise ConfigError(
            f"a memory ceiling of {memory / GIB:.2f} GiB is too small for windows of "
            f"{plan.size} px with {classes} classes; give --memory {needed + 0.1:.1f}GiB or more"
        )
    strip = -(-plan.width // -(-plan.width // widest))
    cols = len(plan.cols_over(0, strip))
    fits = [
        rows
        for rows in _block_rows(plan, cols, batch)
        if rows == 1 or column(rows) * (strip + beside) <= spare
    ]
    return Layout(strip, min(fits, key=lambda rows: _computed(plan, cols, rows, batch)))


def layout_bytes(
    plan: WindowPlan, layout: Layout, *, classes: int, input_bytes: int, source_rows: int
) -> int:
    """Bytes of what is held while a strip is mapped; arguments as `plan_layout`."""
    width = plan.width if layout.strip_width >= plan.width else layout.strip_width + 2 * plan.size
    column = _column_bytes(
        plan,
        layout.block_rows,
        classes=classes,
        input_bytes=input_bytes,
        source_rows=min(source_rows, plan.height),
    )
    return column * width


def _column_bytes(
    plan: WindowPlan, rows: int, *, classes: int, input_bytes: int, source_rows: int
) -> int:
    """Bytes of one column of a strip whose blocks take this many window rows."""
    high = plan.size + (rows - 1) * (plan.size - plan.overlap)
    # Input: the rows held and the same joined with the next, one read arriving
    # in parts and put together, one ahead of it.
    return 4 * classes * high + input_bytes * (2 * high + 3 * source_rows)


def choose_batch(plan: WindowPlan, most: int) -> int:
    """Windows a forward pass takes: ``most``, or up to half as many where fewer are padding.

    A rule of the plan alone: the memory that a run is given changes no map. Two at least: a
    batch of one computes in another order than any other.
    """
    step = plan.size - plan.overlap
    cols = -(-len(plan.cols) // -(-plan.width // (ENOUGH_COLS * step)))
    most = max(min(most, len(plan.rows) * len(plan.cols)), 2)
    return min(
        range(most, max(most // 2, 2) - 1, -1),
        key=lambda batch: min(
            _computed(plan, cols, rows, batch) for rows in _block_rows(plan, cols, batch)
        ),
    )


def _block_rows(plan: WindowPlan, cols: int, batch: int) -> range:
    """Window rows that a block may take: up to a few batches."""
    return range(1, min(max(4 * batch // cols, 1), len(plan.rows)) + 1)


def _computed(plan: WindowPlan, cols: int, block_rows: int, batch: int) -> int:
    """Windows of a strip with those that only fill the last batch of each block."""
    blocks, rest = divmod(len(plan.rows), block_rows)
    batches = blocks * -(-block_rows * cols // batch) + -(-rest * cols // batch)
    return batches * batch


def _overlapping(starts: list[int], size: int, start: int, stop: int) -> range:
    first = next(i for i, at in enumerate(starts) if at + size > start)
    last = next((i for i, at in enumerate(starts) if at >= stop), len(starts))
    return range(first, last)


def _weight_sum(
    starts: list[int], length: int, weight: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    total = np.zeros(length, np.float32)
    for start in starts:
        part = weight[: length - start]
        total[start : start + len(part)] += part
    return total


def _edges(starts: list[int], length: int, size: int) -> npt.NDArray[np.bool_]:
    edges = np.zeros(length, bool)
    for start in starts:
        for at in (start, start + size):
            if 0 < at < length:
                edges[at] = True
    return edges
