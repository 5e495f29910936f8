"""Web maps' projection, spherical Mercator (EPSG:3857), and where its pixels lie in a grid."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geofm.errors import GridError
from geofm.scenes.ground import apply, ground_resolution, outline

RADIUS = 6378137.0
"""Of the sphere, metres."""
MOST_LATITUDE = 85.05
"""Where web maps end, degrees."""
# Metres and pixels, at most, between places that are projected exactly. Over 20 km the Earth
# bends by 8 m: no more than a thousandth of a pixel where a pixel spans so far.
_NODE_METRES, _MOST_NODE = 20_000.0, 8

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MercatorGrid:
    """Square pixels, north up.

    Attributes:
        left, top: of the corner, metres; across the antimeridian they go on beyond
            20,037,508 m instead of turning round.
        step: side of a pixel, metres of the projection.
        height, width: pixels.
    """

    left: float
    top: float
    step: float
    height: int
    width: int

    @property
    def affine(self) -> Affine:
        """Columns and rows to metres."""
        return Affine(self.step, 0, self.left, 0, -self.step, self.top)

    def latitudes(self) -> Doubles:
        """Of the middle of each row, degrees, (height,)."""
        middles = np.arange(self.height, dtype=np.float64) + 0.5
        return _latitude(self.top - middles * self.step)


def mercator_grid(geobox: GeoBox, side: int) -> MercatorGrid:
    """The grid of a web map that shows all of another grid, no finer than that.

    Args:
        side: pixels that neither side exceeds.

    Raises:
        GridError: it has no place on a web map.
    """
    resolution = ground_resolution(geobox)
    if geobox.crs is None or not resolution:
        raise GridError(
            "the grid has no CRS, so it has no place on a web map; assign one (rio edit-info --crs)"
        )
    lon, lat = outline(geobox, "EPSG:4326")
    known = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = np.unwrap(lon[known], period=360), lat[known]
    around_pole = len(lon) > 0 and abs(lon[-1] - lon[0]) > 180
    if not len(lon) or around_pole or abs(lat).min() > MOST_LATITUDE:
        raise GridError(
            f"the grid lies beyond {MOST_LATITUDE} degrees north or south, or around a pole, where "
            "web maps end; draw it with geofm.plot.map"
        )
    x, y = RADIUS * np.radians(lon), _northing(lat)
    # Mercator stretches: a pixel at its least stretched side is as fine as it gets.
    finest = resolution / np.cos(np.radians(min(abs(lat).min(), MOST_LATITUDE)))
    step = max(np.ptp(x) / side, np.ptp(y) / side, finest)
    return MercatorGrid(
        left=float(x.min()),
        top=float(y.max()),
        step=float(step),
        height=int(np.clip(np.ceil(np.ptp(y) / step - 1e-6), 1, side)),
        width=int(np.clip(np.ceil(np.ptp(x) / step - 1e-6), 1, side)),
    )


def source_places(geobox: GeoBox, grid: MercatorGrid) -> tuple[Ints, Ints]:
    """The row and column of another grid under the middle of each pixel, (height, width).

    Some are off that grid. A few pixels are projected, and others lie straight between.
    """
    assert geobox.crs is not None, "mercator_grid asked for a CRS"
    node = int(np.clip(_NODE_METRES / grid.step, 1, _MOST_NODE))
    # The first and every further node is the middle of a pixel.
    down, across = (
        np.arange(0, count + node, node, dtype=np.float64) + 0.5
        for count in (grid.height, grid.width)
    )
    x, y = np.meshgrid(grid.left + across * grid.step, grid.top - down * grid.step)
    here = CRS.from_wkt(geobox.crs.to_wkt())
    to_source = Transformer.from_crs("EPSG:4326", here, always_xy=True)
    with np.errstate(invalid="ignore"):
        found = to_source.transform(np.degrees(x / RADIUS), _latitude(y))
        cols, rows = (
            _between(nodes, grid.height, grid.width, node)
            for nodes in apply(~geobox.affine, *found)
        )
    return _whole(rows), _whole(cols)


def _between(nodes: Doubles, height: int, width: int, node: int) -> Doubles:
    """Values at every pixel from those at every ``node``-th."""
    at = np.arange(width)
    first, share = at // node, at % node / node
    lines = nodes[:, first] * (1 - share) + nodes[:, first + 1] * share
    at = np.arange(height)
    first, share = at // node, (at % node / node)[:, None]
    return lines[first] * (1 - share) + lines[first + 1] * share


def _whole(places: Doubles) -> Ints:
    known = np.isfinite(places) & (abs(places) < 2**31)
    return np.where(known, np.floor(np.where(known, places, 0)), -1).astype(np.int64)


def _northing(latitude: Doubles) -> Doubles:
    clipped = np.radians(np.clip(latitude, -MOST_LATITUDE, MOST_LATITUDE))
    north: Doubles = RADIUS * np.arcsinh(np.tan(clipped))
    return north


def _latitude(northing: Doubles) -> Doubles:
    found: Doubles = np.degrees(np.arctan(np.sinh(northing / RADIUS)))
    return found
