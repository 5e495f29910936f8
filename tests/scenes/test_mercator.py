"""Web maps' grid: GDAL lays every pixel where we do, and all of a grid is on it."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geofm.errors import GridError
from geofm.scenes.mercator import mercator_grid, source_places
from geofm.scenes.picture import pick_codes
from geofm.scenes.warp import warp_nearest

GRIDS = {
    "utm": GeoBox((301, 410), Affine(10, 0, 3e5, 0, -10, 5.8e6), "EPSG:32633"),
    "far from the meridian": GeoBox((301, 410), Affine(30, 0, 9e5, 0, -30, 7.5e6), "EPSG:32633"),
    "degrees": GeoBox((301, 410), Affine(0.01, 0, -70.5, 0, -0.01, 3), "EPSG:4326"),
    "rotated": GeoBox((301, 410), Affine(8, 6, 3e5, 6, -8, 5.8e6), "EPSG:32633"),
    "south up": GeoBox((301, 410), Affine(10, 0, 3e5, 0, 10, 5.8e6), "EPSG:32633"),
    "itself": GeoBox((301, 410), Affine(10, 0, 1e6, 0, -10, 6e6), "EPSG:3857"),
    "a continent": GeoBox(
        (301, 410), Affine(9000, 0, -1.8e6, 0, -9000, 1.6e6), "+proj=laea +lat_0=52 +lon_0=10"
    ),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("side", [120, 1600])
def test_gdal_lays_the_pixels_there_too(name, side) -> None:
    geobox = GRIDS[name]
    raster = np.random.default_rng(0).integers(0, 250, geobox.shape, np.uint8)
    grid = mercator_grid(geobox, side)
    assert max(grid.height, grid.width) <= side
    ours = pick_codes(
        lambda window: raster[window.slices], geobox.shape, *source_places(geobox, grid)
    )
    target = GeoBox(ours.shape, grid.affine, "EPSG:3857")
    (theirs,) = warp_nearest(raster[None], source=geobox, target=target, fill=255)
    # Where a middle lies on the border of two pixels, either is right.
    assert (ours == theirs).mean() > 0.999
    # All of the source is on the grid: as much of it as of its outline's box it fills.
    assert (ours[[0, -1]] != 255).any()
    assert (ours[:, [0, -1]] != 255).any()


@pytest.mark.parametrize("name", GRIDS)
def test_corners_are_right_to_a_pixel(name) -> None:
    geobox = GRIDS[name]
    grid = mercator_grid(geobox, 1600)
    height, width = geobox.shape
    corners = np.array([(0.5, 0.5), (width - 0.5, 0.5), (0.5, height - 0.5)])
    there = Transformer.from_crs(geobox.crs.to_wkt(), "EPSG:3857", always_xy=True)
    x, y = there.transform(*(geobox.affine @ tuple(corners.T)))
    cols, rows = (np.array(part) for part in ~grid.affine @ (np.array(x), np.array(y)))
    found = source_places(geobox, grid)
    for (col, row), at, down in zip(corners, cols, rows, strict=True):
        place = (
            min(max(int(down), 0), grid.height - 1),
            min(max(int(at), 0), grid.width - 1),
        )
        assert abs(found[0][place] - row) <= 1.5
        assert abs(found[1][place] - col) <= 1.5


def test_across_the_antimeridian_nothing_breaks() -> None:
    geobox = GeoBox((200, 300), Affine(60, 0, 6.5e5, 0, -60, 8.2e6), "EPSG:32760")
    grid = mercator_grid(geobox, 400)
    assert grid.step * grid.width < 40_000  # not once around the Earth
    rows, cols = source_places(geobox, grid)
    on = (rows >= 0) & (rows < 200) & (cols >= 0) & (cols < 300)
    assert on.mean() > 0.9
    assert (np.diff(cols, axis=1)[on[:, 1:] & on[:, :-1]] >= 0).all()


@pytest.mark.parametrize(
    ("geobox", "said"),
    [
        (GeoBox((9, 9), Affine(10, 0, 0, 0, -10, 0), None), "no CRS"),
        (GeoBox((9, 9), Affine(1e5, 0, -4e5, 0, -1e5, 4e5), "EPSG:3413"), "around a pole"),
    ],
)
def test_what_no_web_map_shows_is_refused(geobox, said) -> None:
    with pytest.raises(GridError, match=said):
        mercator_grid(geobox, 100)
