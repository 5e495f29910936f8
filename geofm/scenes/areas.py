"""How much ground each pixel of a grid covers."""

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geofm.errors import GridError
from geofm.scenes.ground import apply, ground_resolution
from geofm.scenes.window import Window

_A = 6378137.0  # WGS 84, metres
_E2 = 0.0066943799901413165
_E = np.sqrt(_E2)
# Between nodes the area is taken as linear: over 50 km that misses by 1e-5 at most.
_NODE_METRES = 50_000
_MAX_NODE_PIXELS = 64

Doubles = npt.NDArray[np.float64]


def pixel_areas(geobox: GeoBox, window: Window) -> Doubles:
    """Area of each pixel on the WGS 84 ellipsoid, square metres, (height, width) float64.

    A pixel's corners are laid on the authalic sphere, which has the ellipsoid's area
    everywhere (Snyder 1987, Map Projections, eq. 3-11 to 3-13); there a pixel is flat.

    Raises:
        GridError: the grid has no CRS, or no place on Earth.
    """
    side = ground_resolution(geobox)
    if geobox.crs is None or not side:
        raise GridError(
            "the grid has no CRS, so its pixels have no area; assign one (rio edit-info --crs)"
        )
    step = int(np.clip(_NODE_METRES // side, 1, _MAX_NODE_PIXELS))
    rows, cols = _nodes(window.row, window.height, step), _nodes(window.col, window.width, step)
    to_lonlat = Transformer.from_crs(CRS.from_wkt(geobox.crs.to_wkt()), "EPSG:4326", always_xy=True)
    down, across = np.meshgrid(rows, cols, indexing="ij")
    corners = [
        _on_sphere(geobox, to_lonlat, across + right, down + below)
        for below, right in ((0, 0), (0, 1), (1, 1), (1, 0))
    ]
    crossed = np.cross(corners[2] - corners[0], corners[3] - corners[1])
    at_nodes = np.linalg.norm(crossed, axis=-1) / 2
    along = np.array(
        [np.interp(_places(window.col, window.width), cols, line) for line in at_nodes]
    )
    places = _places(window.row, window.height)
    before = np.clip(np.searchsorted(rows, places, "right") - 1, 0, max(len(rows) - 2, 0))
    if len(rows) == 1:
        return np.repeat(along, window.height, axis=0)
    share = ((places - rows[before]) / (rows[before + 1] - rows[before]))[:, None]
    areas: Doubles = along[before] * (1 - share) + along[before + 1] * share
    return areas


def _places(start: int, count: int) -> Doubles:
    return np.arange(start, start + count, dtype=np.float64)


def _nodes(start: int, count: int, step: int) -> Doubles:
    """Every ``step``-th pixel, the first and the last among them."""
    return np.unique(np.append(_places(start, count)[::step], start + count - 1.0))


def _on_sphere(geobox: GeoBox, to_lonlat: Transformer, cols: Doubles, rows: Doubles) -> Doubles:
    """Corners as points (..., 3) on the authalic sphere, metres."""
    lon, lat = to_lonlat.transform(*apply(geobox.affine, cols, rows))
    lon, sine = np.radians(lon), np.sin(np.radians(lat))

    def q(sine: Doubles | float) -> Doubles:
        part = sine / (1 - _E2 * sine**2)
        whole: Doubles = (1 - _E2) * (part + np.arctanh(_E * sine) / _E)
        return whole

    high = np.clip(q(sine) / q(1.0), -1, 1)
    radius = _A * np.sqrt(q(1.0) / 2)
    flat = np.sqrt(1 - high**2)
    points: Doubles = radius * np.stack([flat * np.cos(lon), flat * np.sin(lon), high], axis=-1)
    return points
