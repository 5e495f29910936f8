"""Polygons come with the map, whole or not at all, and tell the same areas."""

import numpy as np
import pytest
import rasterio
from affine import Affine

import geofm
import geofm.xarray
from geofm.cli.app import main
from geofm.errors import OutputError
from geofm.predict import engine
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory
from geofm.predict.plan import Layout
from geofm.scenes.areas import pixel_areas
from geofm.scenes.window import Window


def test_areas_of_the_map(flood_folder, make_scene, tmp_path) -> None:
    import geopandas as gpd

    scene = geofm.open_scene(make_scene(height=130, width=170))
    out = tmp_path / "flood.tif"
    report = geofm.map_scene(
        geofm.load_model(flood_folder), scene, out, polygons=tmp_path / "flood.gpkg"
    )
    assert report.files["polygons"] == tmp_path / "flood.gpkg"
    table = gpd.read_file(report.files["polygons"])
    with rasterio.open(out) as file:
        codes = file.read(1)
    areas = pixel_areas(scene.geobox, Window(0, 0, *scene.shape)) / 1e4
    assert set(table["class"]) == set(np.unique(codes)) - {255}
    for code, rows in table.groupby("class"):
        assert rows["hectares"].sum() == pytest.approx(areas[codes == code].sum(), rel=1e-9)
        assert rows.area.sum() == pytest.approx((codes == code).sum() * 100, rel=1e-9)
    assert table["confidence"].between(50, 100).all()
    assert not list(tmp_path.glob(".*"))  # nothing unfinished stays


def test_geopandas_reads_geoparquet(flood_folder, make_scene, tmp_path) -> None:
    import geopandas as gpd

    pytest.importorskip("pyarrow")
    model, scene = geofm.load_model(flood_folder), geofm.open_scene(make_scene())
    tables = []
    for name, read in (("a.parquet", gpd.read_parquet), ("a.gpkg", gpd.read_file)):
        path = tmp_path / name
        geofm.map_scene(model, scene, tmp_path / "a.tif", polygons=path, overwrite=True)
        tables.append(read(path))
    parquet, package = tables
    assert parquet.crs == package.crs == "EPSG:32633"
    assert list(parquet.columns) == list(package.columns)
    assert parquet.geometry.geom_equals(package.geometry).all()
    np.testing.assert_allclose(parquet["hectares"], package["hectares"])


def test_on_the_command_line(flood_folder, make_scene, tmp_path, capsys) -> None:
    words = ["map", str(flood_folder), str(make_scene()), "-o", str(tmp_path / "a.tif")]
    words += ["--polygons", str(tmp_path / "a.gpkg")]
    assert main(words) == 0
    assert "a.gpkg" in capsys.readouterr().out
    many = (tmp_path / "a.gpkg").stat().st_size
    (tmp_path / "a.tif").unlink()
    assert main(words) == 1  # polygons of an earlier map are not replaced unasked
    assert "a.gpkg exists" in capsys.readouterr().err
    assert not (tmp_path / "a.tif").exists()
    assert main([*words, "--overwrite", "--min-area", "20"]) == 0
    assert (tmp_path / "a.gpkg").stat().st_size <= many
    assert main([*words, "--overwrite", "--min-area", "-1"]) == 2


def test_polygons_that_cannot_be_written_leave_no_map(flood_folder, make_scene, tmp_path) -> None:
    scene, model = geofm.open_scene(make_scene()), geofm.load_model(flood_folder)
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError):
        geofm.map_scene(
            model, scene, tmp_path / "a.tif", polygons=tmp_path / "taken" / "polygons.gpkg"
        )
    assert not (tmp_path / "a.tif").exists()
    assert not (tmp_path / "a.json").exists()
    # What was computed is kept for another try.
    report = geofm.map_scene(
        model, scene, tmp_path / "a.tif", polygons=tmp_path / "new" / "p.gpkg", resume=True
    )
    assert report.resumed_blocks == report.blocks
    assert report.files["polygons"].exists()


def test_no_border_follows_the_blocks(flood_folder, make_scene, tmp_path, monkeypatch) -> None:
    """Polygons of many strips equal those of one."""
    import geopandas as gpd

    scene, model = geofm.open_scene(make_scene(height=90)), geofm.load_model(flood_folder)
    tables = []
    for name, pixels in (("one", 2**22), ("many", 7 * 83)):
        monkeypatch.setattr("geofm.export.vector.STRIP_PIXELS", pixels)
        polygons = tmp_path / f"{name}.gpkg"
        geofm.map_scene(model, scene, tmp_path / f"{name}.tif", polygons=polygons)
        tables.append(sorted(gpd.read_file(polygons).geometry.normalize().to_wkt()))
    assert tables[0] == tables[1]


def test_a_map_in_degrees(flood_folder, make_scene, tmp_path) -> None:
    import geopandas as gpd

    path = make_scene(crs="EPSG:4326", transform=Affine(9e-5, 0, 12.5, 0, -9e-5, 52.5))
    out = geofm.map_scene(
        geofm.load_model(flood_folder),
        geofm.open_scene(path),
        tmp_path / "a.tif",
        polygons=tmp_path / "a.parquet",
    )
    pytest.importorskip("pyarrow")
    table = gpd.read_parquet(out.files["polygons"])
    ground = table.to_crs("EPSG:6933").area / 1e4  # equal-area
    np.testing.assert_allclose(table["hectares"], ground, rtol=1e-3)


@pytest.mark.slow
def test_no_class_border_lies_on_a_block_edge_more_often_than_chance(
    tiny_model, write_raster, dn_of, monkeypatch
) -> None:
    model = tiny_model()
    scene = geofm.open_scene(write_raster(dn_of(420, 460)), scale=1e-4)
    layout = Layout(strip_width=37, block_rows=1)
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: layout)
    plan = engine.prepare(model, scene, MapOptions()).plan
    blocks = [block.area for strip in layout.strips(plan) for block in strip]
    assert len(blocks) > 150
    classes = map_in_memory(model, scene).classes
    for axis, starts in ((0, {b.row for b in blocks}), (1, {b.col for b in blocks})):
        changes = (np.diff(classes.astype(int), axis=axis) != 0).mean(axis=1 - axis)
        edge = np.isin(np.arange(1, classes.shape[axis]), sorted(starts))
        error = changes[~edge].std() / np.sqrt(edge.sum())
        assert changes[edge].mean() - changes[~edge].mean() < 3 * error
        assert changes.mean() > 0.005  # there are borders to speak of


def test_simplified_on_the_command_line(flood_folder, make_scene, tmp_path) -> None:
    import geopandas as gpd
    import shapely

    words = ["map", str(flood_folder), str(make_scene()), "-o", str(tmp_path / "a.tif")]
    tables = []
    for name, more in (("plain", []), ("fewer", ["--simplify", "25"])):
        path = tmp_path / f"{name}.gpkg"
        assert main([*words, "--polygons", str(path), "--overwrite", *more]) == 0
        tables.append(gpd.read_file(path))
    plain, fewer = tables
    assert len(plain) == len(fewer)
    assert fewer.geometry.count_coordinates().sum() < plain.geometry.count_coordinates().sum()
    assert fewer["hectares"].sum() == pytest.approx(plain["hectares"].sum())
    assert shapely.is_valid(fewer.geometry.values).all()
    found = geofm.open_scene(make_scene("b.tif")).to_xarray()
    table = found.geofm.map(geofm.load_model(flood_folder)).geofm.polygons(simplify=25)
    assert len(table) == len(fewer)
    assert table.geometry.geom_equals_exact(fewer.geometry, 1e-6).all()
    assert main([*words, "--overwrite", "--simplify", "-1"]) == 2
