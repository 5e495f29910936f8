"""A map's classes as polygons: GeoPackage or GeoParquet, with hectares and confidence.

The map is walked in strips of rows. What reaches the next strip waits for its other
parts, so no polygon is cut; what is finished is handed on. In memory are one strip, the
outlines of polygons that are not finished, and one batch of those that are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize, shapes
from shapely.geometry.base import BaseGeometry

from geofm.errors import GridError, OutputError
from geofm.export.places import check_new_file, check_parquet
from geofm.export.simplify import check_simplify, simplified
from geofm.scenes.areas import pixel_areas
from geofm.scenes.ground import apply, ground_resolution
from geofm.scenes.window import Window
from geofm.tasks import UNSURE, MapClass

if TYPE_CHECKING:
    import geopandas as gpd

STRIP_PIXELS = 2**22
"""Of a strip; about 25 bytes each are in memory."""
BATCH = 50_000
"""Finished polygons that are written at once."""
SUFFIXES = (".gpkg", ".parquet", ".geoparquet")

Codes = npt.NDArray[np.uint8]
ReadStrip = Callable[[Window], tuple[Codes, Codes]]


@dataclass(frozen=True, slots=True)
class Polygons:
    """Some polygons of a map, N of them.

    Attributes:
        geometry: (N,) shapely polygons in the map's CRS.
        codes: (N,) uint8, the class of each.
        hectares: (N,) float64, on the ellipsoid.
        confidence: (N,) float32, mean over its pixels, percent.
    """

    geometry: npt.NDArray[np.object_]
    codes: Codes
    hectares: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]


def check_polygons_output(out: Path, *, overwrite: bool, simplify: float = 0.0) -> None:
    """Refuse an output that cannot be made, before any work is done.

    Raises:
        OutputError: another kind of file, one that exists, or pyarrow is not there; or what
            simplifies is too old.
    """
    if simplify:
        check_simplify()
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"polygons go into a GeoPackage or GeoParquet file, and {out.name} is neither; "
            "give a name that ends in .gpkg or .parquet"
        )
    check_new_file(out, overwrite=overwrite)
    check_parquet(out)


def write_polygons(
    read: ReadStrip,
    geobox: GeoBox,
    classes: Sequence[MapClass],
    out: Path,
    *,
    layer: str,
    min_area: float = 0.0,
    simplify: float = 0.0,
) -> Path:
    """Write polygons beside ``out``; the caller moves them into place.

    Columns: ``class`` (code), ``class_name``, ``hectares``, ``confidence`` (percent).
    A GeoPackage is written batch by batch; GeoParquet and ``simplify`` hold all outlines in
    memory.

    Args:
        read: classes and confidence of whole rows, (height, width) uint8 each.
        layer: name of the layer in a GeoPackage.
        min_area: leave out polygons below, hectares.
        simplify: as `find_polygons`.

    Returns:
        The file that was written, in ``out``'s folder.

    Raises:
        GridError: the map has no CRS.
        OutputError: it cannot be written.
    """
    part = out.with_name(f".{out.stem}.partial{out.suffix}")
    frames = (
        polygon_frame(batch, geobox, classes)
        for batch in find_polygons(read, geobox, min_area=min_area, simplify=simplify)
    )
    try:
        for stale in (part, *part.parent.glob(f"{part.name}-*")):  # of a killed run
            stale.unlink(missing_ok=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".gpkg":
            import pyogrio

            for at, frame in enumerate(frames):
                pyogrio.write_dataframe(
                    frame,
                    part,
                    layer=layer,
                    driver="GPKG",
                    geometry_type="Polygon",
                    append=at > 0,
                )
        else:
            import pandas as pd

            pd.concat(list(frames), ignore_index=True).to_parquet(part, index=False)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {out} ({error}); free some space or choose another folder"
        ) from error
    except BaseException as error:
        part.unlink(missing_ok=True)
        if type(error).__module__.startswith("pyogrio"):  # loaded only where it writes
            raise OutputError(f"cannot write {out} ({error}); choose another folder") from error
        raise
    return part


def polygon_frame(
    polygons: Polygons, geobox: GeoBox, classes: Sequence[MapClass]
) -> "gpd.GeoDataFrame":
    """Polygons as a table."""
    import geopandas as gpd

    assert geobox.crs is not None, "find_polygons asked for a CRS"
    names = np.array([kind.name for kind in classes], dtype=object)
    columns: dict[str, Any] = {
        "class": polygons.codes,
        "class_name": names[polygons.codes],
        "hectares": polygons.hectares,
        "confidence": polygons.confidence,
    }
    return gpd.GeoDataFrame(columns, geometry=polygons.geometry, crs=geobox.crs.to_wkt())


def find_polygons(
    read: ReadStrip,
    geobox: GeoBox,
    *,
    min_area: float = 0.0,
    simplify: float = 0.0,
    strip_rows: int | None = None,
) -> Iterator[Polygons]:
    """The 4-connected areas of one class, with their holes; codes from 253 on are none.

    Args:
        read: as `write_polygons`.
        min_area: leave out polygons below, hectares.
        simplify: leave out corners whose triangle is smaller than this length squared, metres;
            borders stay shared. Hectares and confidence are those of the pixels all the same.
        strip_rows: rows read at once; the polygons do not depend on it.

    Yields:
        Batches, at least one.

    Raises:
        GridError: the grid has no CRS.
    """
    if geobox.crs is None:
        raise GridError(
            "the map has no CRS, so its polygons have no area; assign one to the scene "
            "(rio edit-info --crs)"
        )
    height, width = (int(side) for side in geobox.shape)
    rows = strip_rows or max(STRIP_PIXELS // width, 1)
    weaver, ready = _Weaver(width), list[_Part]()
    for row in range(0, height, rows):
        window = Window(row, 0, min(rows, height - row), width)
        classes, confidence = read(window)
        done = weaver.add(_parts(classes, confidence, geobox, window))
        ready += [part for part in done if part.square_metres >= min_area * 1e4]
        while len(ready) >= BATCH and not simplify:
            yield _finish(ready[:BATCH], geobox)
            del ready[:BATCH]
    ready += [part for part in weaver.close() if part.square_metres >= min_area * 1e4]
    yield _finish(ready, geobox, simplify)


@dataclass(slots=True)
class _Part:
    """One area, as far as it is known: its outlines, in pixels from the grid's corner."""

    code: int
    outlines: list[BaseGeometry]
    pixels: int
    square_metres: float
    confidence: float

    def take(self, other: "_Part") -> None:
        self.outlines += other.outlines
        self.pixels += other.pixels
        self.square_metres += other.square_metres
        self.confidence += other.confidence


@dataclass(frozen=True, slots=True)
class _Strip:
    """The areas of a strip; ``top`` and ``bottom`` say which lies at each column, -1 none."""

    parts: list[_Part]
    top: npt.NDArray[np.int64]
    bottom: npt.NDArray[np.int64]


def _parts(classes: Codes, confidence: Codes, geobox: GeoBox, window: Window) -> _Strip:
    found = shapes(
        classes,
        mask=classes < UNSURE,
        connectivity=4,
        transform=Affine.translation(0, window.row),
    )
    outlines, codes = [], []
    for outline, code in found:
        rings = outline["coordinates"]
        outlines.append(shapely.Polygon(rings[0], rings[1:]))
        codes.append(int(code))
    if not outlines:
        nothing = np.full(window.width, -1, np.int64)
        return _Strip([], nothing, nothing)
    labels = rasterize(
        ((outline, at + 1) for at, outline in enumerate(outlines)),
        out_shape=classes.shape,
        transform=Affine.translation(0, window.row),
        dtype=np.int32,
    )
    flat, count = labels.ravel(), len(outlines) + 1
    pixels = np.bincount(flat, minlength=count)
    assert pixels[0] == (classes >= UNSURE).sum(), "each mapped pixel lies in one area"
    metres = np.bincount(flat, pixel_areas(geobox, window).ravel(), minlength=count)
    sure = np.bincount(flat, confidence.ravel(), minlength=count)
    parts = [
        _Part(code, [outline], int(pixels[at]), float(metres[at]), float(sure[at]))
        for at, (code, outline) in enumerate(zip(codes, outlines, strict=True), start=1)
    ]
    return _Strip(parts, labels[0].astype(np.int64) - 1, labels[-1].astype(np.int64) - 1)


class _Weaver:
    """Joins areas across strips: those that reach the last row wait for the next strip."""

    def __init__(self, width: int) -> None:
        self.waiting: dict[int, _Part] = {}
        self.above = np.full(width, -1, np.int64)
        self.next = 0

    def add(self, strip: _Strip) -> list[_Part]:
        """The areas that are finished, now that this strip is known."""
        first, self.next = self.next, self.next + len(strip.parts)
        parts = self.waiting | {first + at: part for at, part in enumerate(strip.parts)}
        leader = {key: key for key in parts}

        def lead(key: int) -> int:
            while leader[key] != key:
                leader[key] = leader[leader[key]]
                key = leader[key]
            return key

        meet = (self.above >= 0) & (strip.top >= 0)
        pairs = np.stack([self.above[meet], strip.top[meet] + first], axis=1)
        for upper, lower in np.unique(pairs, axis=0).tolist():
            one, other = lead(upper), lead(lower)
            if one == other or parts[one].code != parts[other].code:
                continue
            if len(parts[one].outlines) < len(parts[other].outlines):
                one, other = other, one
            parts[one].take(parts.pop(other))
            leader[other] = one

        keys = np.where(strip.bottom >= 0, strip.bottom + first, -1)
        known = {key: lead(key) if key >= 0 else -1 for key in np.unique(keys).tolist()}
        self.above = np.array([known[key] for key in keys.tolist()], np.int64)
        self.waiting = {key: parts.pop(key) for key in set(known.values()) - {-1}}
        return list(parts.values())

    def close(self) -> list[_Part]:
        """The areas at the bottom of the map."""
        return list(self.waiting.values())


def _finish(parts: Sequence[_Part], geobox: GeoBox, simplify: float = 0.0) -> Polygons:
    geometry = np.array([_joined(part.outlines) for part in parts], dtype=object)
    if simplify and len(parts):
        side = ground_resolution(geobox)
        assert side, "areas on the ellipsoid were measured"
        geometry = simplified(geometry, simplify / side)
    return Polygons(
        geometry=shapely.transform(
            geometry, lambda points: np.column_stack(apply(geobox.affine, *points.T))
        ),
        codes=np.array([part.code for part in parts], np.uint8),
        hectares=np.array([part.square_metres / 1e4 for part in parts], np.float64),
        confidence=np.array([part.confidence / part.pixels for part in parts], np.float32),
    )


def _joined(outlines: Sequence[BaseGeometry]) -> BaseGeometry:
    """One valid polygon, with a point at corners only.

    Where an area meets itself at a corner, GDAL's outline touches itself; as a shell and
    a hole that touch there, the same area is valid (OGC 06-103r4, 6.1.11.1).
    """
    if len(outlines) == 1 and shapely.is_valid(outlines[0]):
        return outlines[0]  # most are: GDAL sets points at corners only
    whole = shapely.union_all(shapely.make_valid(outlines))
    assert isinstance(whole, shapely.Polygon), whole.geom_type
    return shapely.Polygon(_corners(whole.exterior), [_corners(ring) for ring in whole.interiors])


def _corners(ring: shapely.LinearRing) -> npt.NDArray[np.float64]:
    """The points of a ring of pixel edges where it turns."""
    points = shapely.get_coordinates(ring)[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    found: npt.NDArray[np.float64] = points[turns]
    return found
