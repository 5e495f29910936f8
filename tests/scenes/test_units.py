"""Values that cannot be reflectance are an error with the likely fix."""

import numpy as np
import pytest

from geofm.errors import UnitsError
from geofm.scenes.open import open_scene


@pytest.mark.parametrize(
    ("stored", "stated", "fix"),
    [
        (1e-4, 1.0, "scale=0.0001"),
        (1e-3, 1.0, "scale=0.001"),
        (1e-2, 1.0, "scale=0.01"),
        (1e-4, 1e-2, "scale=0.0001"),
    ],
)
def test_values_too_large(make_scene, stored, stated, fix):
    path = make_scene(scale=stored)
    with pytest.raises(UnitsError, match=f"is .* in half of its pixels .* likely give {fix} "):
        open_scene(path, scale=stated)
    open_scene(path)


def test_values_too_small(make_scene):
    path = make_scene(dtype="float32", scale=1.0)
    open_scene(path)
    with pytest.raises(UnitsError, match=r"reflectance is mostly above 0.01; likely give scale=1 "):
        open_scene(path, scale=1e-4)


def test_landsat_numbers_are_known_by_their_range(make_scene):
    path = make_scene(scale=2.75e-5, offset=-0.2)
    assert open_scene(path).offset[0, 0] == np.float32(-0.2)
    with pytest.raises(UnitsError, match=r"scale=2.75e-5 and offset=-0.2 \(Landsat"):
        open_scene(path, scale=1e-3, offset=0)


def test_an_undeclared_fill_shows_below_zero(make_scene):
    path = make_scene(scale=2.75e-5, offset=-0.2)
    import rasterio

    with rasterio.open(path, "r+") as file:
        numbers = file.read()
        numbers[:, :40] = 0
        file.write(numbers)
        file.nodata = None
    with pytest.raises(UnitsError, match="likely 0 is the fill: give nodata=0"):
        open_scene(path)
    open_scene(path, nodata=0)


def test_an_offset_applied_twice(make_scene):
    with pytest.raises(UnitsError, match="the offset has been applied already: give offset=0"):
        open_scene(make_scene(), offset=-0.2)


def test_every_date_is_judged(make_scene):
    good, bad = make_scene("a.tif"), make_scene("b.tif", scale=1e-3)
    with pytest.raises(UnitsError, match="in half of its pixels"):
        open_scene([good, bad], dates=["2020-01-01", "2020-02-01"], scale=1e-2)


def test_heat_and_radar_are_not_reflectance(make_scene):
    open_scene(make_scene("a.tif", bands=("lwir11",), dtype="float32", scale=1e-4), scale=1)


@pytest.mark.parametrize("seed", range(5))
def test_real_reflectance_passes(shared_data, seed):
    fires = sorted((shared_data / "burn_landsat7").glob("*_after.tif"))
    open_scene(fires[seed])
    snow = shared_data / "bigearthnet_v1_sample/S2B_MSIL2A_20180204T94161_57_38"
    open_scene(sorted(snow.glob("*_B0[234].tif")), sensor="sentinel-2", scale=1e-4)


def test_a_corner_of_valid_pixels_is_found(make_scene):
    import rasterio

    path = make_scene(height=400, width=400, block=64)
    with rasterio.open(path, "r+") as file:
        numbers = file.read()
        numbers[:, :, 60:] = 0
        file.write(numbers)
    with pytest.raises(UnitsError, match=r"likely give scale=0.0001"):
        open_scene(path, scale=1)
