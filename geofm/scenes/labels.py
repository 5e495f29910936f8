"""Polygons, points or rasters to class codes, on a scene's grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.errors import ElsewhereError, GridError, LabelError
from geofm.scenes.edges import without_edges
from geofm.scenes.ground import crop
from geofm.scenes.header import RasterFile, read_header
from geofm.scenes.rasters import read_bands
from geofm.scenes.shapes import Shapes, check_code, open_shapes
from geofm.scenes.warp import blocks_under, same_grid, source_window, warp_nearest
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, MAX_CLASSES

Codes = npt.NDArray[np.uint8]
_VECTORS = {".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet"}


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Class codes of a scene's pixels, read by windows.

    Attributes:
        geobox: the scene's grid.
        source: raster, or polygons and points.
        path: where they come from.
        ignore_edges: pixels nearer to another class than this, or to the outline of a
            polygon, are `IGNORE`: drawn borders are seldom right to the pixel.
    """

    geobox: GeoBox
    source: "_Raster | Shapes"
    path: str
    ignore_edges: int = 0

    def read(self, window: Window | None = None) -> Codes:
        """Class codes (H, W) uint8 of a window inside the grid, `IGNORE` where unlabelled.

        Raises:
            SceneError: the file cannot be read.
        """
        height, width = self.geobox.shape
        window = window or Window(0, 0, height, width)
        return self.source.read(window, self.geobox, self.ignore_edges)


def open_labels(
    path: str | Path,
    geobox: GeoBox,
    *,
    classes: Mapping[int | str, int] | None = None,
    column: str | None = None,
    background: int = IGNORE,
    ignore_edges: int = 0,
) -> Labels:
    """Open labels of a scene: a raster of codes, or polygons or points with a column of classes.

    Rasters on another grid are warped by nearest neighbour; a polygon takes the
    pixels whose centre it holds, a later one over an earlier; a point takes the
    pixel it lies in, over any polygon.

    Args:
        path: a raster, or a vector file such as a GeoPackage.
        geobox: the scene's grid.
        classes: codes or names in the file -> class codes; others, and a
            raster's nodata unless it is named here, become `IGNORE`. None takes
            codes 0 to 252 as they are.
        column: of polygons or points, the one that holds codes or names; may be left out
            where there is only one.
        background: class code of pixels outside all polygons.
        ignore_edges: as in `Labels`, pixels; points have no edges.

    Raises:
        LabelError: nothing fits: no overlap, no such column, no such class.
        GridError: one has a CRS and the other has none.
        SceneError: the file cannot be opened.
    """
    text = str(path)
    if ignore_edges < 0:
        raise LabelError(f"ignore_edges={ignore_edges}; needed pixels from 0, such as 1")
    source: _Raster | Shapes
    if is_vector(path):
        source = open_shapes(
            Path(text), geobox, classes=classes, column=column, background=background
        )
    else:
        source = _open_raster(text, geobox, classes)
    return Labels(geobox=geobox, source=source, path=text, ignore_edges=ignore_edges)


def is_vector(path: str | Path) -> bool:
    """Whether a path names polygons or points, by its ending."""
    return Path(path).suffix.lower() in _VECTORS


@dataclass(frozen=True, slots=True, eq=False)
class _Raster:
    """Band 1 of a file; ``classes`` as in `open_labels`."""

    file: RasterFile
    classes: Mapping[int, int] | None

    def read(self, window: Window, geobox: GeoBox, ignore_edges: int) -> Codes:
        # What a raster leaves unlabelled, such as cloud, is no border of a class.
        return without_edges(
            lambda part: self._read(part, geobox),
            window,
            geobox,
            width=ignore_edges,
            outlines=False,
        )

    def _read(self, window: Window, geobox: GeoBox) -> Codes:
        if same_grid(self.file.geobox, geobox):
            return self._codes(window)
        out = np.empty((window.height, window.width), dtype=np.uint8)
        for block, here, there in blocks_under(window, geobox):
            out[here] = self._warp_block(crop(geobox, block))[there]
        return out

    def _warp_block(self, target: GeoBox) -> Codes:
        part = source_window(self.file.geobox, target)
        if part is None:
            return np.full(target.shape, IGNORE, dtype=np.uint8)
        source = crop(self.file.geobox, part)
        codes: Codes = warp_nearest(
            self._codes(part)[None], source=source, target=target, fill=IGNORE
        )[0]
        return codes

    def _codes(self, window: Window) -> Codes:
        """Class codes on the file's own grid."""
        stored = np.empty((1, window.height, window.width), dtype=self.file.dtype)
        measured = read_bands(self.file, self.file.bands[:1], window, stored)[0]
        numbers = stored[0]
        codes = np.full(numbers.shape, IGNORE, dtype=np.uint8)
        if self.classes is None:
            inside = measured & (numbers >= 0) & (numbers < MAX_CLASSES)
            codes[inside] = numbers[inside].astype(np.uint8)
            if (codes[inside] != numbers[inside]).any():
                between = numbers[inside][codes[inside] != numbers[inside]][0]
                raise LabelError(
                    f"{self.file.name} holds {between:g}, which is no class code; needed whole "
                    "numbers; labels of shares or probabilities want a threshold first"
                )
        else:
            for stored_code, code in self.classes.items():
                codes[numbers == stored_code] = code
        return codes


def _open_raster(path: str, geobox: GeoBox, classes: Mapping[int | str, int] | None) -> _Raster:
    file = read_header(path)
    if not same_grid(file.geobox, geobox):
        try:
            overlap = source_window(file.geobox, geobox)
        except GridError as error:
            raise GridError(f"{file.name}: {error}") from error
        if overlap is None or file.geobox.crs is None:
            raise ElsewhereError(
                f"{file.name} ({file.geobox.height} x {file.geobox.width} px) does not overlap "
                "the scene; needed labels of the same place; check the pair"
            )
    return _Raster(file, None if classes is None else _whole_codes(classes, file.name))


def _whole_codes(classes: Mapping[int | str, int], name: str) -> dict[int, int]:
    try:
        return {int(key): check_code(code) for key, code in classes.items()}
    except ValueError as error:
        raise LabelError(
            f"{name} is a raster of codes, and classes names {', '.join(map(str, classes))}; "
            "needed its numbers; give classes such as {1: 0, 2: 1}"
        ) from error
