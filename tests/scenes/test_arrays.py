"""xarray objects, NetCDF and Zarr: numbers, dates, grid and validity as plain xarray has them."""

import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from geofm.errors import BandError, GridError, SceneError, UnitsError
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window

xr = pytest.importorskip("xarray")

TIMES = np.array(["2021-03-04T10:00", "2021-01-02T10:00"], "datetime64[ns]")
BANDS = ["B02", "B04", "B8A"]


def cube(**attrs) -> "xr.DataArray":
    """Two dates, three bands, 12 x 17 pixels of 10 m; dates in the wrong order."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(200, 5_000, (2, 3, 12, 17)).astype(np.uint16)
    numbers[:, :, :2] = 0
    return xr.DataArray(
        numbers,
        dims=("time", "band", "y", "x"),
        coords={
            "time": TIMES, "band": BANDS, "x": 500_005.0 + 10 * np.arange(17),
            "y": 4_000_000 - 5 - 10.0 * np.arange(12),
        },
        attrs={"scale_factor": 1e-4, "_FillValue": 0, "crs": "EPSG:32633", **attrs},
        name="s2",
    )  # fmt: skip


def dataset() -> "xr.Dataset":
    array = cube()
    parts = {name: array.sel(band=name, drop=True) for name in BANDS}
    classes = np.random.default_rng(1).integers(0, 12, (2, 12, 17)).astype(np.uint8)
    parts["SCL"] = (("time", "y", "x"), classes)
    parts["sun"] = (("time",), np.ones(2, np.float32))
    return xr.Dataset(parts, attrs={"crs": "EPSG:32633"})


def expected(array) -> np.ndarray:
    return array.values[::-1].astype(np.float32) * np.float32(1e-4)


@pytest.mark.parametrize("chunks", [None, {"time": 1, "band": 3, "y": 5, "x": 6}])
def test_a_data_array(chunks):
    array = cube() if chunks is None else cube().chunk(chunks)
    scene = open_scene(array, level="surface")
    assert scene.bands == ("blue", "red", "nir08")
    assert scene.dates == (date(2021, 1, 2), date(2021, 3, 4))
    assert (str(scene.geobox.crs), scene.geobox.shape) == ("EPSG:32633", (12, 17))
    assert tuple(scene.geobox.affine)[:6] == (10, 0, 500_000, 0, -10, 4_000_000)
    assert scene.block_shape == ((12, 17) if chunks is None else (5, 6))
    pixels = scene.read()
    np.testing.assert_array_equal(pixels.valid, (array.values[::-1] != 0).all(axis=1))
    everywhere = np.broadcast_to(pixels.valid[:, None], pixels.values.shape)
    np.testing.assert_array_equal(pixels.values[everywhere], expected(array)[everywhere])
    part = scene.read(Window(3, 4, 5, 6), bands=["nir08", "blue"])
    np.testing.assert_array_equal(part.values, pixels.values[:, [2, 0], 3:8, 4:10])


def test_a_dataset_with_its_classification():
    array = dataset()
    scene = open_scene(array)
    assert scene.bands == ("blue", "red", "nir08")
    assert scene.quality.name == "Sentinel-2 SCL"
    classes = array["SCL"].values[::-1]
    measured = (array["B02"].values[::-1] != 0) & (classes != 0)
    stored = scene.setting_aside(["cloud", "snow"]).read_stored()
    np.testing.assert_array_equal(stored.masked, measured & np.isin(classes, (8, 9, 11)))
    last = scene.setting_aside(["cloud"]).select(dates=[1]).read_stored()
    np.testing.assert_array_equal(last.masked[0], (measured & np.isin(classes, (8, 9)))[1])


def test_decoded_numbers_are_not_scaled_again(tmp_path):
    dataset().to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    decoded = xr.open_dataset(tmp_path / "s.nc", engine="h5netcdf")
    stored, physical = open_scene(tmp_path / "s.nc"), open_scene(decoded)
    assert stored.dtype == np.uint16
    assert physical.dtype.kind == "f"
    np.testing.assert_array_equal(physical.read().valid, stored.read().valid)
    np.testing.assert_allclose(physical.read().values, stored.read().values, atol=1e-7)
    decoded.close()


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(tmp_path, version):
    pytest.importorskip("zarr")
    dataset().drop_vars("sun").to_zarr(tmp_path / "s.zarr", zarr_format=version, consolidated=False)
    scene, memory = open_scene(tmp_path / "s.zarr"), open_scene(dataset())
    assert (scene.bands, scene.dates, scene.geobox) == (memory.bands, memory.dates, memory.geobox)
    np.testing.assert_array_equal(scene.read().values, memory.read().values)


def test_a_scene_of_arrays_travels_to_other_processes(tmp_path):
    dataset().to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    for scene in (open_scene(cube()), open_scene(tmp_path / "s.nc")):
        again = pickle.loads(pickle.dumps(scene))
        np.testing.assert_array_equal(again.read().values, scene.read().values)


def test_our_own_array_comes_back(make_scene):
    scene = open_scene(make_scene())
    back = open_scene(scene.to_xarray())
    assert (back.bands, back.dates, back.level) == (scene.bands, scene.dates, scene.level)
    assert back.geobox == scene.geobox
    np.testing.assert_array_equal(back.read().values, scene.read().values)
    np.testing.assert_array_equal(back.read().valid, scene.read().valid)


@pytest.mark.parametrize("ascending", [True, False])
def test_a_part_of_an_array_lies_where_it_lay(ascending):
    array = cube().isel(y=slice(3, 9), x=slice(4, 11))
    array = array.sortby("y") if ascending else array
    box = open_scene(array).geobox
    assert box.affine.f == (4_000_000 - 90 if ascending else 4_000_000 - 30)
    assert (box.affine.c, box.affine.e) == (500_040, 10 if ascending else -10)


def test_unsigned_numbers_of_old_files(tmp_path):
    array = dataset()
    for name in BANDS:
        array[name] = array[name].copy(data=(array[name].values + np.uint16(30_000)).view("int16"))
        array[name].attrs |= {"_Unsigned": "true", "_FillValue": np.int16(30_000)}
        array[name].attrs["scale_factor"] = 1e-5
    scene = open_scene(array[BANDS], nodata=30_000)
    assert scene.dtype == np.uint16
    assert scene.read().values.max() < 0.4
    assert not scene.read().valid[:, :2].any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a.assign_coords(x=np.arange(17.0) ** 2), GridError, "x is not evenly spaced"),
        (lambda a: a.isel(y=[0]), GridError, "one place along y, which tells no pixel size"),
        (lambda a: a.rename(y="row", x="col"), SceneError, "no variable over rows and columns"),
        (lambda a: a.expand_dims("orbit"), SceneError, r"has a dimension orbit; .*isel\(orbit=0"),
        (lambda a: a.assign_coords(band=["a", "b", "c"]), BandError, "names its bands a, b, c;"),
        (lambda a: a.assign_attrs(scale_factor=None), UnitsError, "states no scale; needed to"),
        (lambda a: a.assign_attrs(scale_factor=1.0), UnitsError, "states no scale; needed to"),
        (lambda a: a.assign_attrs(scale_factor=1e-2), UnitsError, "give scale=0.0001"),
        (lambda a: a.assign_attrs(add_offset=-0.6), UnitsError, "likely the offset has been app"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_scene(change, error, message):
    with pytest.raises(error, match=message):
        open_scene(change(cube()))


def test_names_and_dates_from_the_caller():
    array = cube().assign_coords(band=[1, 2, 3]).drop_vars("time")
    scene = open_scene(array, bands=["blue", "-", "nir08"], dates=["2020-01-01", "2020-02-01"])
    assert scene.bands == ("blue", "nir08")
    np.testing.assert_array_equal(scene.read_stored().dn, array.values[:, [0, 2]])
    assert open_scene(cube(), bands=["nir08"]).bands == ("nir08",)
    with pytest.raises(SceneError, match="the array has 2 dates, and 1 were given"):
        open_scene(cube(), dates="2020-01-01")
    with pytest.raises(GridError, match="an array, which stays on its own grid"):
        open_scene(cube(), resolution=20)


def test_geographic_coordinates_need_no_crs():
    array = cube().rename(y="lat", x="lon")
    array = array.assign_coords(lon=10 + 1e-4 * np.arange(17), lat=50 - 1e-4 * np.arange(12))
    del array.attrs["crs"]
    assert str(open_scene(array).geobox.crs) == "EPSG:4326"


class TestFiles:
    def test_what_is_no_netcdf(self, tmp_path):
        path = tmp_path / "s.nc"
        path.write_bytes(b"CDF\x01 an older kind")
        with pytest.raises(SceneError, match=r"s.nc cannot be opened as NetCDF-4 \(.*nccopy"):
            open_scene(path)
        with pytest.raises(SceneError, match=r"none.nc does not exist"):
            open_scene(tmp_path / "none.nc")
        with pytest.raises(SceneError, match=r"none.zarr cannot be opened as Zarr"):
            open_scene(tmp_path / "none.zarr")
        with pytest.raises(SceneError, match=r"2 files were given, .* is NetCDF or Zarr"):
            open_scene([path, path])

    def test_a_missing_package_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr("geofm.scenes.arrayfiles.find_spec", lambda name: None)
        with pytest.raises(SceneError, match=r"NetCDF, which needs h5netcdf; install it with: pip"):
            open_scene(tmp_path / "s.nc")

    @pytest.mark.parametrize(
        ("pattern", "options", "bands", "dates", "fill"),
        [
            (
                "00002806639B424A/S2_L2A_10m*.nc", {"sensor": "sentinel-2"},
                "B02 B03 B04 B08", 118, 0,
            ),
            ("00002806639B424A/S2_L2A_20m*.nc", {}, "B05 B06 B07 B11 B12 B8A", 118, 0),
            ("000028085BF08E7E/S2_L2A_20m*.nc", {}, "B05 B06 B07 B11 B12 B8A", 146, 0),
            ("2021_TZA*/S2_L2A_20m*.nc", {}, "B05 B06 B07 B11 B12 B8A", 136, 0),
            (
                "monthly*/*inputs.nc",
                {"sensor": "sentinel-2", "scale": 1e-4, "nodata": 65535},
                "S2-L2A-B02 S2-L2A-B03 S2-L2A-B04 S2-L2A-B05 S2-L2A-B06 S2-L2A-B07 S2-L2A-B08 "
                "S2-L2A-B11 S2-L2A-B12",
                12, 65535,
            ),
        ],
    )  # fmt: skip
    def test_real_series(self, shared_data, pattern, options, bands, dates, fill):
        (path,) = (shared_data / "crops_worldcereal").glob(pattern)
        scene = open_scene(path, **options)
        whole = xr.open_dataset(
            path, engine="h5netcdf", decode_coords=False, mask_and_scale=False
        ).load()
        numbers = np.stack([whole[name].values.view("uint16") for name in bands.split()], axis=1)
        assert len(scene.dates) == dates
        assert list(scene.dates) == sorted(scene.dates)
        zone = "EPSG:32737" if "TZA" in pattern else "EPSG:32631"
        assert str(scene.geobox.crs) == zone
        assert (np.unique(scene.scale), np.unique(scene.offset)) == (np.float32(1e-4), 0)
        assert scene.geobox.affine.c + scene.geobox.affine.a / 2 == whole.x.values[0]
        assert scene.geobox.affine.f + scene.geobox.affine.e / 2 == whole.y.values[0]
        stored = scene.read_stored()
        np.testing.assert_array_equal(stored.dn, numbers)
        measured = (numbers != fill).all(axis=1)
        if "SCL" in whole:
            measured &= whole.SCL.values != 0
        np.testing.assert_array_equal(stored.valid, measured)
        whole.close()

    def test_labels_are_no_bands(self, shared_data):
        path: Path = next((shared_data / "crops_worldcereal").glob("*/OUTPUT*.nc"))
        with pytest.raises(BandError, match="the array names its bands"):
            open_scene(path)
