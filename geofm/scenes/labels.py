"""Polygons or rasters to class codes, on a scene's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.errors import GridError, LabelError
from geofm.scenes.ground import apply, crop
from geofm.scenes.header import RasterFile, read_header
from geofm.scenes.rasters import read_bands
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
        source: raster or polygons.
        path: where they come from.
    """

    geobox: GeoBox
    source: "_Raster | _Polygons"
    path: str

    def read(self, window: Window | None = None) -> Codes:
        """Class codes (H, W) uint8 of a window inside the grid, `IGNORE` where unlabelled.

        Raises:
            SceneError: the file cannot be read.
        """
        height, width = self.geobox.shape
        return self.source.read(window or Window(0, 0, height, width), self.geobox)


def open_labels(
    path: str | Path,
    geobox: GeoBox,
    *,
    classes: Mapping[int | str, int] | None = None,
    column: str | None = None,
    background: int = IGNORE,
) -> Labels:
    """Open labels of a scene: a raster of codes, or polygons with a column of classes.

    Rasters on another grid are warped by nearest neighbour; a polygon takes the
    pixels whose centre it holds, a later one over an earlier.

    Args:
        path: a raster, or a vector file such as a GeoPackage.
        geobox: the scene's grid.
        classes: codes or names in the file -> class codes; others, and a
            raster's nodata unless it is named here, become `IGNORE`. None takes
            codes 0 to 252 as they are.
        column: of polygons, the one that holds codes or names; may be left out
            where there is only one.
        background: class code of pixels outside all polygons.

    Raises:
        LabelError: nothing fits: no overlap, no such column, no such class.
        GridError: one has a CRS and the other has none.
        SceneError: the file cannot be opened.
    """
    text = str(path)
    source: _Raster | _Polygons
    if Path(text).suffix.lower() in _VECTORS:
        source = _open_polygons(Path(text), geobox, classes, column, background)
    else:
        source = _open_raster(text, geobox, classes)
    return Labels(geobox=geobox, source=source, path=text)


@dataclass(frozen=True, slots=True, eq=False)
class _Raster:
    """Band 1 of a file; ``classes`` as in `open_labels`."""

    file: RasterFile
    classes: Mapping[int, int] | None

    def read(self, window: Window, geobox: GeoBox) -> Codes:
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
            whole = measured & (numbers >= 0) & (numbers < MAX_CLASSES)
            whole &= numbers == np.floor(numbers)
            codes[whole] = numbers[whole].astype(np.uint8)
        else:
            for stored_code, code in self.classes.items():
                codes[numbers == stored_code] = code
        return codes


@dataclass(frozen=True, slots=True, eq=False)
class _Polygons:
    """Shapes in the grid's pixel coordinates, so that any window burns the same pixels."""

    shapes: tuple[Any, ...]
    codes: tuple[int, ...]
    background: int

    def read(self, window: Window, geobox: GeoBox) -> Codes:  # noqa: ARG002  as `_Raster`
        out = np.full((window.height, window.width), self.background, dtype=np.uint8)
        frame = shapely.box(window.col, window.row, window.stop_col, window.stop_row)
        near = shapely.intersects(np.array(self.shapes), frame)
        burn = [
            (shape, code)
            for shape, code, is_near in zip(self.shapes, self.codes, near, strict=True)
            if is_near
        ]
        if burn:
            rasterio.features.rasterize(
                burn, out=out, transform=Affine.translation(window.col, window.row)
            )
        return out


def _open_raster(path: str, geobox: GeoBox, classes: Mapping[int | str, int] | None) -> _Raster:
    file = read_header(path)
    if not same_grid(file.geobox, geobox):
        try:
            overlap = source_window(file.geobox, geobox)
        except GridError as error:
            raise GridError(f"{file.name}: {error}") from error
        if overlap is None or file.geobox.crs is None:
            raise LabelError(
                f"{file.name} ({file.geobox.height} x {file.geobox.width} px) does not overlap "
                "the scene; needed labels of the same place; check the pair"
            )
    return _Raster(file, None if classes is None else _whole_codes(classes, file.name))


def _whole_codes(classes: Mapping[int | str, int], name: str) -> dict[int, int]:
    try:
        return {int(key): _class_code(code) for key, code in classes.items()}
    except ValueError as error:
        raise LabelError(
            f"{name} is a raster of codes, and classes names {', '.join(map(str, classes))}; "
            "needed its numbers; give classes such as {1: 0, 2: 1}"
        ) from error


def _class_code(code: int) -> int:
    if code != IGNORE and not 0 <= code < MAX_CLASSES:
        raise LabelError(
            f"class code {code} is out of range; needed 0 to {MAX_CLASSES - 1}, or {IGNORE} to "
            "ignore; number the classes from 0"
        )
    return int(code)


def _open_polygons(
    path: Path,
    geobox: GeoBox,
    classes: Mapping[int | str, int] | None,
    column: str | None,
    background: int,
) -> _Polygons:
    import geopandas

    if not path.exists():
        raise LabelError(f"{path} does not exist; needed labels; check the path")
    try:
        reader = geopandas.read_parquet if "parquet" in path.suffix.lower() else geopandas.read_file
        frame = reader(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"{path} cannot be read as polygons ({reason}); check the file") from error
    if frame.crs is None or geobox.crs is None:
        missing = path if frame.crs is None else "the scene"
        raise GridError(f"{missing} has no CRS; needed one to place the polygons; give it its CRS")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(geobox.crs.to_wkt())
    shapes = shapely.transform(
        frame.geometry.to_numpy(),
        lambda points: np.column_stack(apply(~geobox.affine, *points.T)),
    )
    height, width = geobox.shape
    if not shapely.intersects(shapes, shapely.box(0, 0, width, height)).any():
        raise LabelError(
            f"{path} has no polygon on the scene; needed labels of the same place; check the pair"
        )
    values = list(frame[_class_column(path, frame, column)])
    codes = _polygon_codes(path, values, classes)
    kept = [at for at, code in enumerate(codes) if code is not None]
    return _Polygons(
        shapes=tuple(shapes[at] for at in kept),
        codes=tuple(code for code in codes if code is not None),
        background=_class_code(background),
    )


def _class_column(path: Path, frame: Any, column: str | None) -> str:
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if column is None and len(columns) == 1:
        return columns[0]
    if column not in columns:
        found = f"has no column {column!r}" if column else f"has {len(columns)} columns"
        raise LabelError(
            f"{path} {found}; needed the one that holds the classes; give column= "
            f"({', '.join(columns)})"
        )
    return column


def _polygon_codes(
    path: Path, values: Sequence[Any], classes: Mapping[int | str, int] | None
) -> list[int | None]:
    """A class code for each value; None for what is left unlabelled."""
    if classes is None:
        try:
            return [_class_code(int(value)) for value in values]
        except ValueError as error:
            raise LabelError(
                f"{path} holds class names such as {values[0]!r}; needed their codes; give "
                "classes={name: code}"
            ) from error
    by_text = {str(key): _class_code(code) for key, code in classes.items()}
    codes = [by_text.get(_text(value)) for value in values]
    if all(code is None for code in codes):
        held = ", ".join(sorted({_text(value) for value in values})[:8])
        raise LabelError(
            f"{path} has none of the classes {', '.join(by_text)}; it holds {held}; "
            "name those in classes="
        )
    return codes


def _text(value: Any) -> str:
    """A code read as float (a column with gaps) is the same code."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
