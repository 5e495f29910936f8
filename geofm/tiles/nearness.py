"""How far apart footprints lie on Earth, in metres, for thousands of them at once."""

from collections.abc import Iterator, Sequence
from math import cos, inf, radians

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely import affinity
from shapely.geometry.base import BaseGeometry

_ELLIPSOID = Geod(ellps="WGS84")
_RADIUS = 6_371_000.0
# A sphere is off by up to half a percent, and so are edges between vertices.
_SLACK = 1.01
# Outlines of neighbours meet to within rounding; less than this share of the smaller is no overlap.
_SLIVER = 1e-4
_CHUNK = 1_000_000

Doubles = npt.NDArray[np.float64]


def metres_between(a: BaseGeometry, b: BaseGeometry) -> float:
    """Metres between two footprints in longitude and latitude, the shortest way.

    0 where they touch, -1 where they overlap. Exact to about a percent.
    """
    crossing = max(abs(x) for x in (*a.bounds[::2], *b.bounds[::2])) > 179
    turns = (-360, 0, 360) if crossing else (0,)
    return min(_between(a, affinity.translate(b, turn) if turn else b) for turn in turns)


def _between(a: BaseGeometry, b: BaseGeometry) -> float:
    if shapely.intersects(a, b):
        shared = shapely.intersection(a, b).area
        return -1.0 if shared > _SLIVER * min(a.area, b.area) else 0.0
    # Nearest points are sought where a degree of longitude is as long as one of latitude.
    narrow = max(cos(radians((a.centroid.y + b.centroid.y) / 2)), 1e-6)
    line = shapely.shortest_line(*(affinity.scale(one, narrow, origin=(0, 0)) for one in (a, b)))
    (x0, y0), (x1, y1) = shapely.get_coordinates(line)
    return float(_ELLIPSOID.inv(x0 / narrow, y0, x1 / narrow, y1)[2])


def near_pairs(
    ours: Sequence[BaseGeometry], theirs: Sequence[BaseGeometry], *, within: float
) -> Iterator[tuple[int, int, float]]:
    """All pairs nearer than ``within`` metres, or touching: positions and metres."""
    for i, j, _ in _candidates(_Caps(ours), _Caps(theirs), within):
        found = metres_between(ours[i], theirs[j])
        if found < within or found <= 0:
            yield i, j, found


def nearest_pair(
    ours: Sequence[BaseGeometry], theirs: Sequence[BaseGeometry]
) -> tuple[int, int, float]:
    """The pair that lies nearest: positions, and metres as `metres_between`; inf without any."""
    best = (-1, -1, inf)
    if not ours or not theirs:
        return best
    a, b = _Caps(ours), _Caps(theirs)
    least = min(float(_angles(a, b, rows).min()) for rows in _chunks(len(ours), len(theirs)))
    reach = least * _RADIUS * _SLACK + 1
    for i, j, floor in sorted(_candidates(a, b, reach), key=lambda found: found[2]):
        if floor > best[2]:
            break
        found = metres_between(ours[i], theirs[j])
        if found < best[2]:
            best = (i, j, found)
    return best


class _Caps:
    """A cap of the sphere around each footprint: centres (N, 3), radii (N,) in radians."""

    def __init__(self, outlines: Sequence[BaseGeometry]) -> None:
        points = [_on_sphere(shapely.get_coordinates(one)) for one in outlines]
        middles = np.array([one.mean(axis=0) for one in points]).reshape(-1, 3)
        self.centers = middles / np.linalg.norm(middles, axis=1, keepdims=True)
        self.radii = np.array(
            [
                np.arccos(np.clip(one @ center, -1, 1).min())
                for one, center in zip(points, self.centers, strict=True)
            ]
        )


def _on_sphere(lonlat: Doubles) -> Doubles:
    lon, lat = np.radians(lonlat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _chunks(rows: int, cols: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(cols, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def _angles(a: _Caps, b: _Caps, rows: slice) -> Doubles:
    angles: Doubles = np.arccos(np.clip(a.centers[rows] @ b.centers.T, -1, 1))
    return angles


def _candidates(a: _Caps, b: _Caps, within: float) -> Iterator[tuple[int, int, float]]:
    """Pairs that may be so near, with the least metres between them."""
    for rows in _chunks(len(a.radii), len(b.radii)):
        gaps = _angles(a, b, rows) - (a.radii[rows, None] + b.radii) * _SLACK
        floors = gaps * _RADIUS / _SLACK - 1
        for i, j in np.argwhere(floors < max(within, 1)):
            yield rows.start + int(i), int(j), float(floors[i, j])
