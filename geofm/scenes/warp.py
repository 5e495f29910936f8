"""A raster onto another grid: GDAL's own warp, the same for whichever window is asked.

GDAL's warper takes from the window it is given how it interpolates coordinates
and how wide its kernel is, so its numbers change, a little, with the window.
Here the target grid is made of fixed blocks, each warped as a whole, with a
kernel for the whole grids: a pixel has one value however it is read.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

from geofm.errors import GridError
from geofm.scenes.ground import apply
from geofm.scenes.handles import expect_no_georeference
from geofm.scenes.window import Window

WARP_BLOCK = (256, 256)
"""Rows and columns of the blocks in which a grid is warped."""

_POINTS_A_SIDE = 21
# Pixels of error that GDAL may leave in coordinates; it takes 0 for a mistake.
_TOLERANCE = 1e-9
# Pixels: two grids that differ by less are one grid, written with rounding.
_SAME = 1e-3


def same_grid(a: GeoBox, b: GeoBox) -> bool:
    """Whether two grids have the same pixels: CRS, shape, and corners to a thousandth of one."""
    if a.shape != b.shape or a.crs != b.crs:
        return False
    height, width = a.shape
    corners = np.array([(0, 0, width, width), (0, height, 0, height)], dtype=np.float64)
    there = apply(~b.affine, *apply(a.affine, *corners))
    return bool(np.abs(np.array(there) - corners).max() < _SAME)


Slices = tuple[slice, slice]


def blocks_under(window: Window, geobox: GeoBox) -> Iterator[tuple[Window, Slices, Slices]]:
    """The blocks that a window touches; where each lies in the window, and which part of it."""
    height, width = WARP_BLOCK
    for row in range(window.row // height * height, window.stop_row, height):
        for col in range(window.col // width * width, window.stop_col, width):
            block = Window(row, col, height, width).clip(*geobox.shape)
            yield block, _shared(window, block), _shared(block, window)


def _shared(window: Window, other: Window) -> Slices:
    """Rows and columns of ``window``, counted from its corner, that ``other`` has too."""
    return (
        slice(max(other.row - window.row, 0), min(other.stop_row, window.stop_row) - window.row),
        slice(max(other.col - window.col, 0), min(other.stop_col, window.stop_col) - window.col),
    )


def source_window(
    source: GeoBox, target: GeoBox, *, ratios: tuple[float, float] = (1.0, 1.0)
) -> Window | None:
    """The part of a source grid that the pixels of ``target`` are computed from.

    None where they do not meet. ``ratios`` are `kernel_ratios` of the whole grids.

    Raises:
        GridError: one grid has a CRS and the other has none.
    """
    if (source.crs is None) != (target.crs is None):
        raise GridError(
            "one grid has a CRS and the other has none; needed both or neither; "
            "give the file its CRS (rio edit-info --crs)"
        )
    height, width = target.shape
    cols, rows = np.meshgrid(
        np.linspace(0, width, _POINTS_A_SIDE), np.linspace(0, height, _POINTS_A_SIDE)
    )
    x, y = apply(target.affine, cols.ravel(), rows.ravel())
    if source.crs != target.crs:
        try:
            x, y = transform_points(target.crs, source.crs, x, y)
        except RasterioError as error:
            raise GridError(
                f"{target.crs} does not convert to {source.crs}; choose another grid"
            ) from error
    cols, rows = apply(~source.affine, np.asarray(x), np.asarray(y))
    known = np.isfinite(cols) & np.isfinite(rows)
    if not known.any():
        return None
    (left, right), (top, bottom) = (
        _padded(part[known], ratio)
        for part, ratio in zip((cols, rows), reversed(ratios), strict=True)
    )
    window = Window(top, left, bottom - top, right - left).clip(*source.shape)
    return window if window.height and window.width else None


def warp(
    numbers: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    *,
    source: GeoBox,
    target: GeoBox,
    ratios: tuple[float, float],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Measured numbers onto another grid, bilinear.

    A pixel is valid where the source pixel under its centre is; its number is
    the weighted mean of the valid ones around it. Holes neither grow nor heal.

    Args:
        numbers, valid: (C, h, w) on ``source``.
        ratios: `kernel_ratios` of the whole grids.

    Returns:
        (C, H, W) float32 and (C, H, W) bool on ``target``.
    """
    known = np.where(valid, numbers, np.nan).astype(np.float32)
    y_ratio, x_ratio = ratios
    values = _gdal_warp(
        known,
        source=source,
        target=target,
        fill=np.nan,
        resampling=Resampling.bilinear,
        XSCALE=x_ratio,
        YSCALE=y_ratio,
        # Each band has holes of its own.
        UNIFIED_SRC_NODATA="NO",
    )
    known_here = np.isfinite(values)
    if not valid.all():
        under = warp_nearest(valid.astype(np.uint8), source=source, target=target, fill=0)
        known_here &= under == 1
    return values, known_here


def warp_nearest(
    codes: npt.NDArray[Any], *, source: GeoBox, target: GeoBox, fill: int
) -> npt.NDArray[Any]:
    """Codes onto another grid: each pixel takes the one under its centre, ``fill`` outside.

    Args:
        codes: (C, h, w) on ``source``.

    Returns:
        (C, H, W) on ``target``, same dtype.
    """
    return _gdal_warp(codes, source=source, target=target, fill=fill, resampling=Resampling.nearest)


def _gdal_warp(
    array: npt.NDArray[Any], *, source: GeoBox, target: GeoBox, fill: float, **options: Any
) -> npt.NDArray[Any]:
    """Warp (C, h, w) to (C, H, W); ``fill`` is no measurement, before and after.

    Not `rasterio.warp.reproject`, which interpolates coordinates to an eighth of
    a pixel whatever it is told.
    """
    count, height, width = array.shape
    expect_no_georeference()
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=array.dtype
        ) as file:
            file.write(array)
        with (
            memory.open() as file,
            WarpedVRT(
                file,
                src_crs=str(source.crs),
                src_transform=source.affine,
                src_nodata=fill,
                crs=str(target.crs),
                transform=target.affine,
                height=target.height,
                width=target.width,
                nodata=fill,
                tolerance=_TOLERANCE,
                **options,
            ) as warped,
        ):
            out: npt.NDArray[Any] = warped.read()
    return out


def kernel_ratios(source: GeoBox, target: GeoBox) -> tuple[float, float]:
    """Source pixels' height and width over the target's, at its centre; below 1 when coarsening."""
    height, width = target.shape
    col, row = width / 2, height / 2
    x, y = apply(
        target.affine,
        np.array([col - 0.5, col + 0.5, col, col]),
        np.array([row, row, row - 0.5, row + 0.5]),
    )
    if source.crs != target.crs:
        x, y = transform_points(target.crs, source.crs, x, y)
    cols, rows = apply(~source.affine, np.asarray(x), np.asarray(y))
    # A target pixel's reach along the source's columns and rows.
    reach_cols = math.hypot(cols[1] - cols[0], cols[3] - cols[2])
    reach_rows = math.hypot(rows[1] - rows[0], rows[3] - rows[2])
    if not 0 < reach_cols < math.inf or not 0 < reach_rows < math.inf:
        return 1.0, 1.0
    return 1 / reach_rows, 1 / reach_cols


def _padded(positions: npt.NDArray[np.float64], ratio: float) -> tuple[int, int]:
    """First and last pixel of a span, with the kernel's reach and what lies between the points."""
    low, high = positions.min(), positions.max()
    pad = math.ceil(1 / min(ratio, 1.0)) + 2 + math.ceil(0.02 * (high - low))
    return math.floor(low) - pad, math.ceil(high) + pad
