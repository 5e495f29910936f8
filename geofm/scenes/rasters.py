"""Raster files as a scene's source: each date and band is one band of one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio.windows
from odc.geo.geobox import GeoBox

from geofm.scenes.ground import crop
from geofm.scenes.handles import reading
from geofm.scenes.header import BandHeader, RasterFile
from geofm.scenes.reader import StoredPixels
from geofm.scenes.warp import (
    WARP_BLOCK,
    blocks_under,
    kernel_ratios,
    same_grid,
    source_window,
    warp,
)
from geofm.scenes.window import Window

# The share by which GDAL, too, lets a float differ from a declared fill (two units in the last
# place): writers round fills such as -3.4e38 in different ways.
_FILL_TOLERANCE = 4 * float(np.finfo(np.float32).eps)


class Slot(NamedTuple):
    """One date and band of a scene: which file, and which of its bands, both from 0."""

    file: int
    band: int


@dataclass(frozen=True, eq=False)
class RasterSource:
    """Files on disk or on the network.

    Attributes:
        files: headers only; handles are borrowed for each read.
        slots: (T, C) of `Slot`.
        geobox: the scene's grid; files on another one are warped to it.
    """

    files: tuple[RasterFile, ...]
    slots: tuple[tuple[Slot, ...], ...]
    geobox: GeoBox

    @property
    def identity(self) -> str:
        """Of the headers: paths, fills, masks, scalings."""
        return repr((self.files, self.slots))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the files; float32 where one is warped or integers and floats meet."""
        kinds = {file.dtype for file in self.files}
        if any(self._warped):
            return np.dtype(np.float32)
        if len(kinds) == 1:
            return kinds.pop()
        whole = all(kind.kind in "iu" for kind in kinds)
        return np.result_type(*kinds) if whole else np.dtype(np.float32)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Of the first file that is read as it is."""
        pairs = zip(self.files, self._warped, strict=True)
        return next((file.block_shape for file, warped in pairs if not warped), WARP_BLOCK)

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        """Read a window: one call a file, of the bands wanted only."""
        size = (window.height, window.width)
        dn = np.empty((len(dates), len(bands), *size), dtype=self.dtype)
        valid = np.ones((len(dates), *size), dtype=np.bool_)
        for t, date_at in enumerate(dates):
            for number, places in _by_file([self.slots[date_at][at] for at in bands]).items():
                # A file that holds the whole date is decoded straight into its place.
                whole = len(places) == len(bands)
                out = dn[t] if whole else np.empty((len(places), *size), dtype=dn.dtype)
                headers = [self.files[number].bands[slot.band] for _, slot in places]
                valid[t] &= self._read_file(number, headers, window, out)
                if not whole:
                    dn[t, [channel for channel, _ in places]] = out
        return StoredPixels(dn=dn, valid=valid, masked=np.zeros_like(valid))

    def _read_file(
        self, number: int, headers: list[BandHeader], window: Window, out: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]:
        """Fill ``out`` (C, H, W); valid (H, W) where every band of it is."""
        file = self.files[number]
        if not self._warped[number]:
            return _everywhere(read_bands(file, headers, window, out))
        valid = np.empty(out.shape[1:], dtype=np.bool_)
        for block, here, there in blocks_under(window, self.geobox):
            numbers, measured = self._warp_block(file, headers, block)
            out[:, *here], valid[here] = numbers[:, *there], measured[there]
        return valid

    def _warp_block(
        self, file: RasterFile, headers: list[BandHeader], block: Window
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Numbers (C, H, W) and validity (H, W) of a block of the scene's grid."""
        target = crop(self.geobox, block)
        ratios = kernel_ratios(file.geobox, self.geobox)
        part = source_window(file.geobox, target, ratios=ratios)
        if part is None:
            shape = (block.height, block.width)
            return np.zeros((len(headers), *shape), np.float32), np.zeros(shape, np.bool_)
        stored = np.empty((len(headers), part.height, part.width), dtype=file.dtype)
        measured = read_bands(file, headers, part, stored)
        numbers, valid = warp(
            stored, measured, source=crop(file.geobox, part), target=target, ratios=ratios
        )
        return numbers, _everywhere(valid)

    @cached_property
    def _warped(self) -> tuple[bool, ...]:
        """For each file, whether it is on another grid."""
        return tuple(not same_grid(file.geobox, self.geobox) for file in self.files)


def read_bands(
    file: RasterFile, headers: Sequence[BandHeader], window: Window, out: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Read a window of a file's own grid into ``out`` (C, H, W); valid (C, H, W).

    Raises:
        SceneError: GDAL cannot read it.
    """
    what = (
        f"rows {window.row} to {window.stop_row}, columns {window.col} to {window.stop_col} "
        f"of band {', '.join(str(header.index) for header in headers)}"
    )
    area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
    with reading(file.path, name=file.name, what=what) as dataset:
        dataset.read([header.index for header in headers], window=area, out=out)
        valid = np.empty(out.shape, dtype=np.bool_)
        for channel, header in enumerate(headers):
            mark_measured(out[channel], header.nodata, valid[channel])
            if header.saturated is not None:
                valid[channel] &= out[channel] != header.saturated
            if header.has_mask:
                valid[channel] &= dataset.read_masks(header.index, window=area) != 0
        if file.has_mask:
            valid &= dataset.read_masks(1, window=area) != 0
        if file.alpha is not None:
            valid &= dataset.read(file.alpha, window=area) != 0
    return valid


def _everywhere(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Valid in every band: (C, H, W) to (H, W)."""
    both: npt.NDArray[np.bool_] = np.logical_and.reduce(valid)
    return both


def mark_measured(
    numbers: npt.NDArray[Any], nodata: float | None, out: npt.NDArray[np.bool_]
) -> None:
    """Where numbers are finite and not the fill."""
    if numbers.dtype.kind == "f":
        np.isfinite(numbers, out=out)
        if nodata is not None and np.isfinite(nodata):
            fill = numbers.dtype.type(nodata)
            # Halves, so that fills at the end of float32 do not overflow.
            away = np.abs(numbers / 2 - fill / 2)
            out &= ~(away <= _FILL_TOLERANCE * abs(fill / 2))
    elif nodata is None or nodata != np.floor(nodata) or not _holds(numbers.dtype, nodata):
        out[:] = True
    else:
        np.not_equal(numbers, numbers.dtype.type(nodata), out=out)


def _holds(dtype: np.dtype[Any], number: float) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= number <= limits.max)


def _by_file(slots: Sequence[Slot]) -> dict[int, list[tuple[int, Slot]]]:
    """Channels and slots by file, in order."""
    files: dict[int, list[tuple[int, Slot]]] = {}
    for channel, slot in enumerate(slots):
        files.setdefault(slot.file, []).append((channel, slot))
    return files
