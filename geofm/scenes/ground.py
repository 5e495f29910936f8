"""Where a grid lies on the ground: size of a pixel, outline in longitude and latitude."""

from functools import cache

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from geofm.errors import GridError
from geofm.scenes.window import Window

_ELLIPSOID = Geod(ellps="WGS84")
_POINTS_A_SIDE = 32

Doubles = npt.NDArray[np.float64]


def ground_resolution(geobox: GeoBox) -> float | None:
    """Side of the central pixel, metres along the ellipsoid: the root of width times height.

    None where the grid has no CRS, or its CRS has no place on Earth.
    """
    if geobox.crs is None:
        return None
    height, width = geobox.shape
    row, col = height / 2, width / 2
    cols = np.array([col - 0.5, col + 0.5, col, col])
    rows = np.array([row, row, row - 0.5, row + 0.5])
    lon, lat = _lonlat(geobox, cols, rows)
    if not np.isfinite([lon, lat]).all():
        return None
    _, _, steps = _ELLIPSOID.inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    return float(np.sqrt(steps[0] * steps[1]))


def footprint(geobox: GeoBox) -> BaseGeometry | None:
    """The grid's outline, longitude and latitude on WGS 84, within -180 to 180.

    A grid across the antimeridian becomes two polygons; one around a pole
    reaches to it. None without a CRS; empty where the CRS has no place on Earth.
    """
    if geobox.crs is None:
        return None
    lon, lat = _lonlat(geobox, *_outline(geobox))
    known = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[known], lat[known]
    if len(lon) < 4:
        return Polygon()
    # Walk the outline without jumps of a whole turn.
    lon = np.unwrap(lon, period=360)
    if abs(lon[-1] - lon[0]) > 180:
        pole = np.copysign(90, lat.mean())
        lon, lat = np.append(lon, lon[[-1, 0]]), np.append(lat, [pole, pole])
    unwrapped = shapely.make_valid(Polygon(np.column_stack([lon, lat])))
    turns = range(int(np.floor((lon.min() + 180) / 360)), int(np.ceil((lon.max() + 180) / 360)))
    parts = [
        shapely.transform(
            unwrapped.intersection(box(360 * turn - 180, -90, 360 * turn + 180, 90)),
            lambda points, turn=turn: points - [360 * turn, 0],
        )
        for turn in turns
    ]
    return shapely.union_all(parts)


def centre(geobox: GeoBox, window: Window) -> tuple[float, float]:
    """Latitude and longitude of a window's centre; NaN where the grid has no place on Earth."""
    if geobox.crs is None:
        return np.nan, np.nan
    col, row = window.col + window.width / 2, window.row + window.height / 2
    lon, lat = _lonlat(geobox, np.array([col]), np.array([row]))
    return (float(lat[0]), float(lon[0])) if np.isfinite([lon, lat]).all() else (np.nan, np.nan)


def crs_name(geobox: GeoBox) -> str:
    """Authority code and name of the grid's CRS, in one line."""
    if geobox.crs is None:
        return "none (not georeferenced)"
    crs = CRS.from_wkt(geobox.crs.to_wkt())
    authority = crs.to_authority()
    return f"{':'.join(authority)} ({crs.name})" if authority else crs.name


def crop(geobox: GeoBox, window: Window) -> GeoBox:
    """The grid of a window of this grid."""
    # Not geobox[rows, cols]: with affine 3 that warns from within odc-geo.
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    col, row = window.col, window.row
    corner = Affine(a, b, a * col + b * row + c, d, e, d * col + e * row + f)
    return GeoBox((window.height, window.width), corner, geobox.crs)


def coarser(geobox: GeoBox, step: float) -> GeoBox:
    """The same corner and area with square pixels of this side, units of the CRS.

    Raises:
        GridError: the side is not a length above 0.
    """
    if not 0 < step < np.inf:
        raise GridError(f"resolution={step:g} is no pixel size; give a length above 0")
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    width, height = np.hypot(a, d), np.hypot(b, e)
    across, down = step / width, step / height
    shape = (
        max(1, round(geobox.shape[0] / down)),
        max(1, round(geobox.shape[1] / across)),
    )
    corner = Affine(a * across, b * down, c, d * across, e * down, f)
    return GeoBox(shape, corner, geobox.crs)


def apply(affine: Affine, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Points through an affine: columns and rows to coordinates, or back with its inverse."""
    a, b, c, d, e, f = tuple(affine)[:6]
    return a * x + b * y + c, d * x + e * y + f


def outline(geobox: GeoBox, crs: str) -> tuple[Doubles, Doubles]:
    """The grid's outline, closed: coordinates in another CRS, infinite where it has none."""
    assert geobox.crs is not None
    x, y = apply(geobox.affine, *_outline(geobox))
    here = CRS.from_wkt(geobox.crs.to_wkt())
    there = Transformer.from_crs(here, CRS.from_user_input(crs), always_xy=True)
    return there.transform(x, y)


def _outline(geobox: GeoBox) -> tuple[Doubles, Doubles]:
    """Columns and rows along the four sides, closed."""
    height, width = geobox.shape
    side = np.linspace(0, 1, _POINTS_A_SIDE, endpoint=False)
    zero, one = np.zeros_like(side), np.ones_like(side)
    cols = np.concatenate([side, one, 1 - side, zero, [0]]) * width
    rows = np.concatenate([zero, side, one, 1 - side, [0]]) * height
    return cols, rows


def _lonlat(geobox: GeoBox, cols: Doubles, rows: Doubles) -> tuple[Doubles, Doubles]:
    assert geobox.crs is not None
    x, y = apply(geobox.affine, cols, rows)
    try:
        lon, lat = _to_lonlat(geobox.crs.to_wkt()).transform(x, y)
    except ProjError:  # a local CRS, of a building site or a table: nowhere on Earth
        return np.full_like(x, np.inf), np.full_like(y, np.inf)
    return np.asarray(lon), np.asarray(lat)


@cache
def _to_lonlat(wkt: str) -> Transformer:
    return Transformer.from_crs(CRS.from_wkt(wkt), "EPSG:4326", always_xy=True)
