"""Fewer corners in the outlines of a map, whose shared borders stay shared."""

import numpy as np
import numpy.typing as npt
import shapely

from geofm.errors import OutputError

_NEEDED = (3, 12)


def check_simplify() -> None:
    """Refuse where GEOS is too old, before any work is done.

    Raises:
        OutputError: it cannot simplify a coverage.
    """
    if shapely.geos_version < _NEEDED or not hasattr(shapely, "coverage_simplify"):
        found = ".".join(map(str, shapely.geos_version))
        raise OutputError(
            f"simplifying needs shapely 2.1 with GEOS 3.12, and this is shapely "
            f"{shapely.__version__} with GEOS {found}; update shapely, or leave out --simplify"
        )


def simplified(outlines: npt.NDArray[np.object_], tolerance: float) -> npt.NDArray[np.object_]:
    """Polygons of pixel edges with fewer corners; neighbours keep one border, without gaps.

    A corner goes where the triangle with its neighbours is smaller than ``tolerance`` squared
    (Visvalingam and Whyatt 1993), and nothing crosses or vanishes for it.

    Args:
        outlines: (N,) polygons in whole pixels from the grid's corner; all of them, each with a
            point at every pixel's corner that it passes, are in memory.
        tolerance: pixels.
    """
    # Where three areas meet, the straight border of one passes a corner of two: each point
    # that one has, its neighbours must have too.
    noded = shapely.transform(shapely.segmentize(outlines, 1.0), np.rint)
    found: npt.NDArray[np.object_] = shapely.coverage_simplify(noded, tolerance)
    return found
