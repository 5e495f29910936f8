"""Pixels in metres on the ground; outlines that survive the antimeridian and the poles."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point

from geofm.scenes.ground import apply, crop, footprint, ground_resolution
from geofm.scenes.window import Window


def grid(crs, west, north, step, height=100, width=100, turn=0.0) -> GeoBox:
    a = np.cos(np.radians(turn)) * step
    b = np.sin(np.radians(turn)) * step
    return GeoBox((height, width), Affine(a, b, west, b, -a, north), crs)


@pytest.mark.parametrize(
    ("geobox", "metres"),
    [
        (grid("EPSG:32633", 500_000, 5_900_000, 10), 10.004),
        (grid("EPSG:32633", 500_000, 5_900_000, 10, turn=30), 10.004),
        (grid("EPSG:3857", 0, 6_446_275, 10), 6.43),  # 50 N: 10 m x cos 50
        (grid("EPSG:4326", 10, 0.005, 1e-4), 11.1),
        (grid("EPSG:4326", 10, 60, 1e-4), 7.88),  # the root of 11.14 by 5.58
    ],
)
def test_resolution_is_metres_on_the_ground(geobox, metres):
    assert ground_resolution(geobox) == pytest.approx(metres, rel=2e-3)


def test_no_crs_means_no_place():
    box = GeoBox((4, 5), Affine.identity(), None)
    assert ground_resolution(box) is None
    assert footprint(box) is None


def test_a_plain_footprint_is_its_box():
    shape = footprint(grid("EPSG:4326", 10, 50, 0.01))
    assert shape.bounds == pytest.approx((10, 49, 11, 50))
    assert shape.area == pytest.approx(1)


@pytest.mark.parametrize("west", [179.5, -180.5])
def test_across_the_antimeridian_there_are_two_parts(west):
    shape = footprint(grid("EPSG:4326", west, 10, 0.01))
    assert shape.bounds == pytest.approx((-180, 9, 180, 10))
    assert shape.area == pytest.approx(1)
    assert len(shape.geoms) == 2
    assert shape.contains(Point(-179.7, 9.5))
    assert not shape.contains(Point(0, 9.5))


def test_a_utm_tile_across_the_antimeridian_is_small():
    shape = footprint(grid("EPSG:32601", 99_960, 1_000_000, 1000, 110, 110))
    assert shape.bounds[0] == -180
    assert shape.bounds[2] == 180
    assert shape.area < 10


def test_around_a_pole_the_footprint_holds_it():
    shape = footprint(grid("EPSG:3995", -500_000, 500_000, 10_000))
    assert shape.bounds == pytest.approx((-180, 83.5, 180, 90), abs=0.5)
    assert shape.covers(Point(0, 90))
    south = footprint(grid("EPSG:3031", -500_000, 500_000, 10_000))
    assert south.covers(Point(12, -89.9))


def test_the_whole_earth_is_the_whole_earth():
    shape = footprint(grid("EPSG:4326", -180, 90, 1, 180, 360))
    assert shape.area == pytest.approx(360 * 180)


def test_south_up_and_rotated_grids_have_the_same_kind_of_outline():
    up = GeoBox((100, 100), Affine(0.01, 0, 10, 0, 0.01, 49), "EPSG:4326")
    assert footprint(up).bounds == pytest.approx((10, 49, 11, 50))
    turned = footprint(grid("EPSG:32633", 500_000, 5_900_000, 10, turn=30))
    assert turned.is_valid
    assert 0 < turned.area < 1


def test_a_cropped_grid_has_the_same_pixels():
    box = grid("EPSG:32633", 500_000, 5_900_000, 10, turn=30)
    part = crop(box, Window(7, 11, 5, 6))
    assert part.shape == (5, 6)
    there = apply(part.affine, np.array([0.0, 3]), np.array([0.0, 2]))
    here = apply(box.affine, np.array([11.0, 14]), np.array([7.0, 9]))
    np.testing.assert_allclose(there, here)
