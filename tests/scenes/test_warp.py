"""Warped scenes hold GDAL's own numbers, the same for whichever window is asked."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geofm.errors import GridError
from geofm.scenes.open import open_scene
from geofm.scenes.warp import kernel_ratios, same_grid, source_window
from geofm.scenes.window import Window

# The scene of `make_scene`: 10 m, EPSG:32633.
SOURCE = GeoBox((150, 170), Affine(10, 0, 500_000, 0, -10, 5_900_000), "EPSG:32633")


def box(crs, west, north, step, height, width, turn=0.0):
    a, b = np.cos(turn) * step, np.sin(turn) * step
    return GeoBox((height, width), Affine(a, b, west, b, -a, north), crs)


GRIDS = {
    "shifted": box("EPSG:32633", 500_003.3, 5_899_981.7, 10, 130, 140),
    "finer": box("EPSG:32633", 500_000, 5_900_000, 5, 300, 340),
    "coarser": box("EPSG:32633", 500_000, 5_900_000, 20, 75, 85),
    "coarser, odd": box("EPSG:32633", 500_013, 5_899_991, 27, 40, 50),
    "turned": box("EPSG:32633", 500_300, 5_899_800, 10, 90, 80, turn=0.4),
    "next zone": box("EPSG:32632", 900_150, 5_916_800, 10, 140, 150),
    "degrees": box("EPSG:4326", 15.001, 53.249, 1e-4, 130, 240),
    "mercator": box("EPSG:3857", 1_669_800, 7_029_200, 16, 150, 170),
    "larger": box("EPSG:32633", 499_500, 5_900_400, 10, 460, 490),
}


@pytest.fixture(scope="module")
def speckled(tmp_path_factory):
    """A scene with holes of its own in each band."""
    from geofm.scenes.synthetic import make_scene

    path = make_scene(
        tmp_path_factory.mktemp("warp") / "a.tif", height=150, width=170, bands=("red", "nir"),
        block=64,
    )  # fmt: skip
    with rasterio.open(path, "r+") as file:
        numbers = file.read()
        numbers[np.random.default_rng(0).random(numbers.shape) < 0.01] = 0
        numbers[:, 20:60, 30:44] = 0
        file.write(numbers)
    return path


@pytest.mark.parametrize("name", GRIDS)
def test_a_warped_band_is_gdals_own(speckled, name):
    """Band by band, as gdalwarp does with one-band files, at exact coordinates."""
    target = GRIDS[name]
    scene = open_scene(speckled, geobox=target)
    y_ratio, x_ratio = kernel_ratios(SOURCE, target)
    for number, band in enumerate(scene.bands, start=1):
        stored = scene.read_stored(bands=[band])
        with rasterio.open(speckled) as file:
            single = rasterio.MemoryFile()
            profile = file.profile | {"count": 1, "dtype": "float32"}
            with single.open(**profile) as copy:
                copy.write(file.read(number).astype(np.float32), 1)
        with (
            single.open() as copy,
            WarpedVRT(
                copy, crs=str(target.crs), transform=target.affine, height=target.height,
                width=target.width, resampling=Resampling.bilinear, tolerance=1e-9, nodata=np.nan,
                src_nodata=0, XSCALE=x_ratio, YSCALE=y_ratio,
            ) as vrt,
        ):  # fmt: skip
            expected = vrt.read(1)
        np.testing.assert_array_equal(stored.valid[0], np.isfinite(expected))
        assert stored.valid.mean() > 0.08
        where = stored.valid[0]
        np.testing.assert_allclose(stored.dn[0, 0][where], expected[where], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_window_holds_the_same_bytes(speckled, data):
    target = GRIDS[data.draw(st.sampled_from(sorted(GRIDS)))]
    scene = open_scene(speckled, geobox=target)
    height, width = scene.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(
        row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col))
    )
    bands = data.draw(st.sampled_from([["red"], ["nir"], ["nir", "red"]]))
    whole, part = scene.read_stored(bands=bands), scene.read_stored(window, bands)
    rows, cols = window.slices
    np.testing.assert_array_equal(part.valid, whole.valid[:, rows, cols])
    np.testing.assert_array_equal(
        np.where(part.valid[:, None], part.dn, 0),
        np.where(part.valid[:, None], whole.dn[..., rows, cols], 0),
    )


def test_a_hole_of_one_pixel_stays_where_it_was(make_scene):
    path = make_scene(height=40, width=40, bands=("red",), nodata_corner=False)
    with rasterio.open(path, "r+") as file:
        numbers = file.read()
        numbers[0, 10, 20] = 0
        file.write(numbers)
    finer = box("EPSG:32633", 500_000, 5_900_000, 5, 80, 80)
    valid = open_scene(path, geobox=finer).read().valid[0]
    assert np.argwhere(~valid).tolist() == [[20, 40], [20, 41], [21, 40], [21, 41]]


def test_a_number_in_a_hole_changes_nothing_after_warping(make_scene):
    values = []
    for fill in (0, 65_000):
        path = make_scene(f"{fill}.tif", height=60, width=60, nodata=fill, bands=("red",))
        pixels = open_scene(path, geobox=GRIDS["finer"]).read()
        values.append((pixels.values, pixels.valid))
    np.testing.assert_array_equal(values[0][1], values[1][1])
    np.testing.assert_array_equal(values[0][0], values[1][0])


def test_a_date_on_the_scenes_grid_is_not_resampled(make_scene):
    a = make_scene("a.tif")
    b = make_scene("b.tif", transform=Affine(10, 0, 500_005, 0, -10, 5_900_000), seed=1)
    scene = open_scene([a, b], dates=["2020-01-01", "2020-02-01"])
    assert scene.dtype == np.float32
    np.testing.assert_array_equal(
        scene.read_stored(dates=[0]).dn, open_scene(a).read_stored().dn.astype(np.float32)
    )
    assert scene.read().valid[1].any()


def test_outside_the_file_nothing_is_valid(make_scene):
    path = make_scene()
    scene = open_scene(path, geobox=GRIDS["larger"])
    assert not scene.read_stored(Window(0, 0, 30, 490)).valid.any()
    assert scene.read_stored(Window(45, 60, 20, 20)).valid.all()


def test_same_grid_forgives_rounding_only():
    assert same_grid(SOURCE, SOURCE)
    near = GeoBox(SOURCE.shape, Affine(10, 0, 500_000.001, 0, -10, 5_900_000), SOURCE.crs)
    assert same_grid(SOURCE, near)
    assert not same_grid(SOURCE, GRIDS["shifted"])
    far = GeoBox(SOURCE.shape, Affine(10, 0, 500_001, 0, -10, 5_900_000), SOURCE.crs)
    assert not same_grid(SOURCE, far)
    assert not same_grid(SOURCE, GeoBox(SOURCE.shape, SOURCE.affine, "EPSG:32632"))


def test_a_grid_without_a_crs_meets_none_with_one():
    bare = GeoBox((5, 5), Affine.identity(), None)
    with pytest.raises(GridError, match="one grid has a CRS and the other has none"):
        source_window(bare, SOURCE)
