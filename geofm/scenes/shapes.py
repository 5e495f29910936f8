"""Polygons and points with a class each, burnt onto a scene's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.errors import ElsewhereError, GridError, LabelError
from geofm.scenes.edges import without_edges
from geofm.scenes.ground import apply, outline
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, MAX_CLASSES

Codes = npt.NDArray[np.uint8]
Classes = Mapping[int | str, int]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes in the grid's pixel coordinates, so that any window burns the same pixels.

    Attributes:
        polygons, polygon_codes: in the order in which they are burnt.
        points, point_codes: burnt over the polygons.
        background: class code outside all of them.
    """

    polygons: tuple[Any, ...]
    polygon_codes: tuple[int, ...]
    points: tuple[Any, ...]
    point_codes: tuple[int, ...]
    background: int

    def read(self, window: Window, geobox: GeoBox, ignore_edges: int) -> Codes:
        """Class codes (H, W) of a window inside the grid; edges as in `Labels`."""
        out = without_edges(self._burn_polygons, window, geobox, width=ignore_edges, outlines=True)
        _burn(out, self.points, self.point_codes, window)
        return out

    def _burn_polygons(self, window: Window) -> Codes:
        out = np.full((window.height, window.width), self.background, dtype=np.uint8)
        _burn(out, self.polygons, self.polygon_codes, window)
        return out


def _burn(out: Codes, shapes: Sequence[Any], codes: Sequence[int], window: Window) -> None:
    frame = shapely.box(window.col, window.row, window.stop_col, window.stop_row)
    near = shapely.intersects(np.array(shapes, dtype=object), frame)
    burn = [
        (shape, code) for shape, code, is_near in zip(shapes, codes, near, strict=True) if is_near
    ]
    if burn:
        rasterio.features.rasterize(
            burn, out=out, transform=Affine.translation(window.col, window.row)
        )


def open_shapes(
    path: Path,
    geobox: GeoBox,
    *,
    classes: Classes | None,
    column: str | None,
    background: int,
) -> Shapes:
    """The polygons and points of a file that lie on a grid; arguments as `open_labels`.

    Raises:
        LabelError, GridError: as `open_labels`.
    """
    frame = _read_frame(path)
    if frame.crs is None or geobox.crs is None:
        missing = path if frame.crs is None else "the scene"
        raise GridError(f"{missing} has no CRS; needed one to place the polygons; give it its CRS")
    codes = _codes(path, frame, column, classes)
    at = _near(frame, geobox)
    placed = frame.geometry.iloc[at].to_crs(geobox.crs.to_wkt())
    shapes = shapely.transform(
        placed.to_numpy(), lambda points: np.column_stack(apply(~geobox.affine, *points.T))
    )
    height, width = geobox.shape
    touching = shapely.intersects(shapes, shapely.box(0, 0, width, height))
    if not touching.any():
        raise ElsewhereError(
            f"{path} has no polygon or point on the scene; needed labels of the same place; check "
            "the pair"
        )
    kept = [(shape, codes[i]) for shape, i, on in zip(shapes, at, touching, strict=True) if on]
    points = [(shape, code) for shape, code in kept if shapely.get_dimensions(shape) == 0]
    polygons = [(shape, code) for shape, code in kept if shapely.get_dimensions(shape) > 0]
    return Shapes(
        *_unzip([(shape, code) for shape, code in polygons if code is not None]),
        *_unzip([(shape, code) for shape, code in points if code is not None]),
        background=check_code(background),
    )


def _unzip(pairs: Sequence[tuple[Any, int]]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    return tuple(shape for shape, _ in pairs), tuple(code for _, code in pairs)


def _read_frame(path: Path) -> Any:
    if not path.exists():
        raise LabelError(f"{path} does not exist; needed labels; check the path")
    state = path.stat()
    return _read_frame_once(path, state.st_mtime_ns, state.st_size)


# One file often labels a thousand scenes, each of which asks for it.
@lru_cache(maxsize=2)
def _read_frame_once(path: Path, _changed: int, _size: int) -> Any:
    import geopandas

    try:
        reader = geopandas.read_parquet if "parquet" in path.suffix.lower() else geopandas.read_file
        frame = reader(path)
        return frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"{path} cannot be read as polygons ({reason}); check the file") from error


def _near(frame: Any, geobox: GeoBox) -> npt.NDArray[np.intp]:
    """Places of the shapes that may lie on the grid, in the file's order."""
    everything = np.arange(len(frame))
    if len(frame) < 1000:
        return everything
    x, y = outline(geobox, frame.crs.to_wkt())
    if not np.isfinite([x, y]).all():
        return everything
    pad = 0.05 * max(np.ptp(x), np.ptp(y))
    frame_box = shapely.box(x.min() - pad, y.min() - pad, x.max() + pad, y.max() + pad)
    return np.sort(frame.sindex.query(frame_box))


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


def _codes(path: Path, frame: Any, column: str | None, classes: Classes | None) -> list[int | None]:
    """A class code for each shape; None for what is left unlabelled."""
    name = _class_column(path, frame, column)
    column_values = frame[name]
    values = list(column_values)
    if classes is None:
        empty = int(column_values.isna().sum())
        if empty:
            raise LabelError(
                f"{path}: {empty} of {len(values)} shapes have no class in column {name}; fill it "
                "in, or take them out"
            )
        try:
            return [check_code(int(value)) for value in values]
        except ValueError as error:
            raise LabelError(
                f"{path} holds class names such as {values[0]!r}; needed the code of each; give "
                "classes= with names and codes"
            ) from error
    by_text = {str(key): check_code(code) for key, code in classes.items()}
    codes = [by_text.get(_text(value)) for value in values]
    if all(code is None for code in codes):
        held = ", ".join(sorted({_text(value) for value in values})[:8])
        raise LabelError(
            f"{path} has none of the classes {', '.join(by_text)}; it holds {held}; "
            "name those in classes="
        )
    return codes


def check_code(code: int) -> int:
    """The class code, if a map can hold it, or `IGNORE`.

    Raises:
        LabelError: it is out of range.
    """
    if code != IGNORE and not 0 <= code < MAX_CLASSES:
        raise LabelError(
            f"class code {code} is out of range; needed 0 to {MAX_CLASSES - 1}, or {IGNORE} to "
            "ignore; number the classes from 0"
        )
    return int(code)


def _text(value: Any) -> str:
    """A code read as float (a column with gaps) is the same code."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
