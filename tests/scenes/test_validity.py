"""What was not measured is never valid, and its number never matters."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geofm.scenes.open import open_scene
from geofm.scenes.rasters import mark_measured

PROFILE = {
    "driver": "GTiff",
    "height": 12,
    "width": 15,
    "crs": "EPSG:32633",
    "transform": Affine(10, 0, 500_000, 0, -10, 5_900_000),
}


def write(path, numbers, *, descriptions=("red", "nir"), scale=1e-4, **options):
    profile = PROFILE | {"count": len(numbers), "dtype": numbers.dtype} | options
    with rasterio.open(path, "w", **profile) as file:
        file.write(numbers)
        file.descriptions = descriptions + ("",) * (len(numbers) - len(descriptions))
        file.scales = (scale,) * len(numbers)
    return path


@pytest.fixture
def numbers():
    return np.random.default_rng(0).integers(500, 4000, (2, 12, 15)).astype(np.uint16)


@pytest.mark.parametrize("fill", [0, 1, 65535])
def test_declared_nodata(tmp_path, numbers, fill):
    numbers[0, 3, 4] = numbers[1, 5, 6] = fill
    scene = open_scene(write(tmp_path / "a.tif", numbers, nodata=fill))
    expected = np.ones((12, 15), bool)
    expected[3, 4] = expected[5, 6] = False
    np.testing.assert_array_equal(scene.read().valid[0], expected)
    assert scene.read(bands=["nir"]).valid[0, 3, 4]


def test_the_caller_may_name_the_fill(tmp_path, numbers):
    numbers[:, 0] = 7
    path = write(tmp_path / "a.tif", numbers, nodata=0)
    assert open_scene(path).read().valid.all()
    assert not open_scene(path, nodata=7).read().valid[0, 0].any()


def test_bands_may_have_fills_of_their_own(tmp_path, numbers):
    numbers[0, 0, 0], numbers[1, 0, 0] = 11, 22
    numbers[0, 1, 1], numbers[1, 1, 1] = 22, 11
    path = write(tmp_path / "a.tif", numbers)
    vrt = tmp_path / "a.vrt"
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><Description>{name}</Description>'
        f"<NoDataValue>{fill}</NoDataValue><Scale>0.0001</Scale><SimpleSource>"
        f'<SourceFilename relativeToVRT="1">{path.name}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band, name, fill in [(1, "red", 11), (2, "nir", 22)]
    )
    vrt.write_text(f'<VRTDataset rasterXSize="15" rasterYSize="12">{bands}</VRTDataset>')
    valid = open_scene(vrt).read().valid[0]
    assert not valid[0, 0]
    assert valid[1, 1]
    assert valid.sum() == valid.size - 1


def test_nan_and_infinity(tmp_path, numbers):
    values = numbers.astype(np.float32) * np.float32(1e-4)
    values[0, 1, 1], values[1, 2, 2], values[0, 3, 3] = np.nan, np.inf, -np.inf
    scene = open_scene(write(tmp_path / "a.tif", values, scale=1.0), scale=1)
    pixels = scene.read()
    assert (~pixels.valid[0]).nonzero()[0].tolist() == [1, 2, 3]
    assert np.isfinite(pixels.values).all()


@pytest.mark.parametrize("fill", [-9999.0, -3.4028234663852886e38, -3.40282e38, np.nan, 1e20])
def test_fills_of_float_files(tmp_path, numbers, fill):
    values = numbers.astype(np.float32) * np.float32(1e-4)
    values[:, 4, 4] = fill
    path = write(tmp_path / "a.tif", values, scale=1.0, nodata=fill)
    valid = open_scene(path, scale=1).read().valid
    assert not valid[0, 4, 4]
    assert valid.sum() == valid.size - 1


@pytest.mark.parametrize("internal", [True, False])
def test_gdal_masks(tmp_path, numbers, internal):
    path = tmp_path / "a.tif"
    keep = np.full((12, 15), 255, np.uint8)
    keep[2:4, 5:9] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        write(path, numbers)
        with rasterio.open(path, "r+") as file:
            file.write_mask(keep)
    assert (tmp_path / "a.tif.msk").exists() is not internal
    np.testing.assert_array_equal(open_scene(path).read().valid[0], keep != 0)


def test_alpha_is_validity_and_no_band(tmp_path, numbers):
    alpha = np.full((1, 12, 15), 65535, np.uint16)
    alpha[0, 7, 8] = 0
    path = tmp_path / "a.tif"
    write(path, np.concatenate([numbers, alpha]))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.undefined, ColorInterp.undefined, ColorInterp.alpha]
    scene = open_scene(path)
    assert scene.bands == ("red", "nir")
    assert np.argwhere(~scene.read().valid[0]).tolist() == [[7, 8]]


@given(fill=st.one_of(st.integers(0, 65535), st.integers(-(2**40), 2**40), st.floats()))
def test_a_fill_that_integers_cannot_hold_fills_nothing(fill):
    numbers = np.arange(65536, dtype=np.uint16)
    valid = np.empty(numbers.shape, bool)
    mark_measured(numbers, float(fill), valid)
    holds = float(fill).is_integer() and 0 <= fill <= 65535
    assert (~valid).nonzero()[0].tolist() == ([int(fill)] if holds else [])


@settings(max_examples=20, deadline=None)
@given(junk=st.integers(0, 65535), seed=st.integers(0, 9))
def test_the_number_in_an_invalid_pixel_changes_nothing(tmp_path_factory, junk, seed):
    folder = tmp_path_factory.mktemp("junk")
    rng = np.random.default_rng(seed)
    numbers = rng.integers(500, 4000, (2, 12, 15)).astype(np.uint16)
    keep = np.where(rng.random((12, 15)) < 0.3, 0, 255).astype(np.uint8)
    values = []
    for name, number in [("plain.tif", 1000), ("junk.tif", junk)]:
        numbers[:, keep == 0] = number
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            path = write(folder / name, numbers)
            with rasterio.open(path, "r+") as file:
                file.write_mask(keep)
        values.append(open_scene(path).read().values)
    np.testing.assert_array_equal(*values)
    assert (values[0][:, :, keep == 0] == 0).all()
