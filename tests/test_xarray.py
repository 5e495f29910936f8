"""``da.geofm.map(model)``: the file map's bytes, from any georeferenced array."""

import numpy as np
import pytest
import rasterio

import geofm
import geofm.xarray
from geofm.errors import SceneError, UnitsError


@pytest.fixture
def written(flood_folder, make_scene, tmp_path):
    """A scene, its model, and its map as a file: codes and confidence."""
    scene = geofm.open_scene(make_scene(height=90, width=121))
    model = geofm.load_model(flood_folder)
    out = geofm.map_scene(model, scene, tmp_path / "out.tif").files
    with rasterio.open(out["classes"]) as a, rasterio.open(out["confidence"]) as b:
        return scene, model, a.read(1), b.read(1)


def _check_same(found, codes, percent) -> None:
    np.testing.assert_array_equal(found.classes.values, codes)
    stored = np.nan_to_num(found.confidence.values, nan=255).astype(np.uint8)
    np.testing.assert_array_equal(stored, percent)


@pytest.mark.parametrize("layout", ["array", "dataset", "dask", "bare dims", "named rows"])
def test_the_bytes_of_the_file(written, layout) -> None:
    scene, model, codes, percent = written
    array = scene.to_xarray().compute()
    told = {"level": "surface"}
    match layout:
        case "dataset":  # xarray drops the units here
            array, told = array.to_dataset("band"), {"level": "surface", "scale": 1.0}
        case "dask":
            array = array.chunk({"y": 37, "x": 50})
        case "bare dims":
            array = array.isel(time=0).transpose("y", "x", "band")
        case "named rows":
            array = array.rename(y="northing", x="easting")
    found = array.geofm.map(model, **told)
    _check_same(found, codes, percent)


def test_stored_numbers_of_another_reader(written) -> None:
    """As rioxarray opens it: integers, a fill in attrs, the CRS in ``spatial_ref``."""
    import xarray as xr

    scene, model, codes, percent = written
    with rasterio.open(scene.paths[0]) as file:
        dn, nodata, step, crs = file.read(), file.nodata, file.transform, file.crs
    array = xr.DataArray(
        dn,
        dims=("band", "y", "x"),
        coords={
            "band": list(range(1, len(dn) + 1)),
            "y": step.f + step.e * (np.arange(dn.shape[1]) + 0.5),
            "x": step.c + step.a * (np.arange(dn.shape[2]) + 0.5),
            "spatial_ref": ((), 0, {"crs_wkt": crs.to_wkt()}),
        },
        attrs={"_FillValue": nodata},
    )
    found = array.geofm.map(model, bands=scene.bands, scale=1e-4, level="surface")
    _check_same(found, codes, percent)
    assert found.odc.geobox == scene.geobox
    with pytest.raises(UnitsError):
        array.geofm.map(model, bands=scene.bands, level="surface")


def test_a_map_explains_itself_after_a_file(written, tmp_path) -> None:
    import xarray as xr

    pytest.importorskip("h5netcdf")
    scene, model, _, _ = written
    found = scene.to_xarray().geofm.map(model)
    found.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "map.nc", engine="h5netcdf", decode_coords="all") as again:
        flags = again.classes.attrs
        assert flags["flag_meanings"].split()[:2] == ["not_water", "water"]
        assert flags["flag_colors"].split()[1] == "#2166ac"
        assert again.odc.geobox == scene.geobox
        np.testing.assert_array_equal(again.classes, found.classes)


def test_polygons_of_a_map(written, tmp_path) -> None:
    import geopandas as gpd

    scene, model, _, _ = written
    found = scene.to_xarray().geofm.map(model)
    table = found.geofm.polygons()
    geofm.map_scene(model, scene, tmp_path / "b.tif", polygons=tmp_path / "b.gpkg")
    filed = gpd.read_file(tmp_path / "b.gpkg")
    assert list(table.columns) == list(filed.columns)
    assert table.geometry.geom_equals(filed.geometry).all()
    np.testing.assert_allclose(table["hectares"], filed["hectares"])
    np.testing.assert_allclose(table["confidence"], filed["confidence"])
    assert list(table["class_name"]) == list(filed["class_name"])
    assert len(found.geofm.polygons(min_area=1)) == (table["hectares"] >= 1).sum()
    with pytest.raises(SceneError, match="no map"):
        scene.to_xarray().geofm.polygons()


def test_a_map_keeps_its_meaning_in_zarr(written, tmp_path) -> None:
    import xarray as xr

    from geofm import plot

    pytest.importorskip("zarr")
    scene, model, _, _ = written
    found = scene.to_xarray().geofm.map(model)
    found.to_zarr(tmp_path / "map.zarr", zarr_format=2)
    with xr.open_zarr(tmp_path / "map.zarr", decode_coords="all") as again:
        np.testing.assert_array_equal(again.classes, found.classes)
        np.testing.assert_array_equal(again.confidence, found.confidence)
        assert again.odc.geobox == scene.geobox
        assert list(again.classes.attrs["flag_values"]) == [0, 1, 253, 254, 255]
        one, other = (plot.map(each).axes[0].images[0].get_array() for each in (found, again))
        np.testing.assert_array_equal(one, other)
        assert len(again.geofm.polygons()) == len(found.geofm.polygons())


def test_rioxarray_knows_where_a_map_lies(written, tmp_path) -> None:
    pytest.importorskip("rioxarray")
    scene, model, codes, percent = written
    found = scene.to_xarray().geofm.map(model)
    assert found.rio.crs.to_epsg() == 32633
    assert tuple(found.rio.transform())[:6] == pytest.approx(tuple(scene.geobox.affine)[:6])
    assert found.classes.rio.nodata == 255
    for name, expected in (("classes", codes), ("confidence", percent)):
        found[name].rio.to_raster(tmp_path / f"{name}.tif")
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert (file.crs, file.transform) == (scene.geobox.crs, scene.geobox.affine)
            values = file.read(1)
        np.testing.assert_array_equal(np.nan_to_num(values, nan=255), expected)
    elsewhere = found.classes.rio.reproject("EPSG:4326")
    assert set(np.unique(elsewhere)) <= {0, 1, 255}


# odc-geo's own call of shapely.
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_a_map_is_drawn_and_reprojected_by_others(written) -> None:
    from matplotlib.figure import Figure

    scene, model, codes, _ = written
    found = scene.to_xarray().geofm.map(model)
    image = found.classes.plot(ax=Figure().subplots())
    np.testing.assert_array_equal(np.asarray(image.get_array()).reshape(codes.shape), codes)
    moved = found.classes.odc.reproject("EPSG:4326", resampling="nearest")
    assert moved.odc.geobox.crs.epsg == 4326
    assert set(np.unique(moved)) <= {0, 1, 255}


def test_a_map_on_dask_streams_into_zarr(flood_folder, make_scene, tmp_path, monkeypatch) -> None:
    import xarray as xr

    from geofm.predict import lazy

    pytest.importorskip("zarr")
    monkeypatch.setattr(lazy, "CHUNK_SIDE", 64)
    monkeypatch.setattr(lazy, "MIN_WINDOWS", 2)
    scene = geofm.open_scene(make_scene(height=190, width=121))
    model = geofm.load_model(flood_folder)
    array = scene.to_xarray().chunk({"y": 37, "x": 50})
    found = array.geofm.map(model, probabilities=True)
    assert len(found.chunksizes["y"]) > 2
    assert "seam_score" not in found.attrs
    found.to_zarr(tmp_path / "map.zarr", zarr_format=2)
    whole = array.compute().geofm.map(model, probabilities=True)
    with xr.open_zarr(tmp_path / "map.zarr", decode_coords="all") as again:
        xr.testing.assert_identical(again.compute().drop_attrs(), whole.drop_attrs())
        assert again.odc.geobox == scene.geobox
        assert again.attrs["recipe_sha256"] == whole.attrs["recipe_sha256"]


def test_a_map_on_dask_is_mapped_once_for_a_picture_or_polygons(written, monkeypatch) -> None:
    from geofm import plot
    from geofm.predict import lazy

    scene, model, codes, _ = written
    mapped, whole = [], lazy.map_chunk
    monkeypatch.setattr(lazy, "map_chunk", lambda *job: (mapped.append(job[1]), whole(*job))[1])
    found = scene.to_xarray().geofm.map(model)
    picture = plot.map(found).axes[0].images[0].get_array()
    assert len(mapped) == 1
    assert picture.shape[:2] == codes.shape
    assert set(found.geofm.polygons()["class"]) == set(np.unique(codes)) - {255}
    assert len(mapped) == 2
