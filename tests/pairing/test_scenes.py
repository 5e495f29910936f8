"""Many scenes: folders, lists and catalogues give the same ones, and say what they leave out."""

import csv

import pytest
import rasterio

from geofm.errors import SceneError
from geofm.pairing.scenes import find_entries, open_scenes
from geofm.scenes.open import open_scene


@pytest.fixture
def places(make_scene, tmp_path):
    """Two places, one of them on two dates, in folders below one."""
    for name in ("a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
    lakes = [
        make_scene("a/lake_20200101.tif", height=20, width=30),
        make_scene("a/lake_20200201.tif", height=20, width=30, seed=1),
    ]
    for path in lakes:  # their names tell the dates
        with rasterio.open(path, "r+") as file:
            file.update_tags(GEOFM_DATES="")
    return [*lakes, make_scene("b/c/field.tif", height=25, width=30, dates=2)]


def ids(opened):
    return [scene.id for scene in opened.scenes]


def test_folder_list_and_catalogue_name_the_same_scenes(places, tmp_path):
    whole = open_scenes(tmp_path)
    assert ids(whole) == ["lake_20200101", "lake_20200201", "field"]
    assert not whole.skipped
    listed = tmp_path / "scenes.txt"
    listed.write_text("# what we have\na/lake_20200101.tif\n\na/lake_20200201.tif\nb/c/field.tif\n")
    assert ids(open_scenes(listed)) == ids(whole)
    table = tmp_path / "scenes.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "licence", "bands"])
        for path in places:
            rows.writerow([path.relative_to(tmp_path), "cc-by-4.0", "red;green"])
    found = open_scenes(table)
    assert ids(found) == ids(whole)
    assert found.licences == ("cc-by-4.0",)
    assert {scene.bands for scene in found.scenes} == {("red", "green")}
    assert ids(open_scenes([tmp_path / "a", places[2]])) == ids(whole)


def test_a_parquet_catalogue_is_read(places, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = tmp_path / "scenes.parquet"
    pandas.DataFrame({"path": [str(path) for path in places], "level": "surface"}).to_parquet(table)
    assert ids(open_scenes(table)) == ["lake_20200101", "lake_20200201", "field"]


def test_dates_of_one_place_become_one_scene(places, tmp_path):
    series = open_scenes(tmp_path, series=True)
    assert [len(scene.dates) for scene in series.scenes] == [2, 2]
    assert series.scenes[0].dates == tuple(open_scene([str(path) for path in places[:2]]).dates)
    listed = tmp_path / "scenes.txt"
    listed.write_text("a/lake_20200101.tif\ta/lake_20200201.tif\nb/c/field.tif\n")
    assert [len(scene.dates) for scene in open_scenes(listed).scenes] == [2, 2]
    table = tmp_path / "scenes.csv"
    table.write_text(
        "path,place,date\na/lake_20200101.tif,lake,2019-05-01\nb/c/field.tif,,\n"
        "a/lake_20200201.tif,lake,2019-06-01\n"
    )
    lake, field = open_scenes(table).scenes
    assert [str(day) for day in lake.dates] == ["2019-05-01", "2019-06-01"]
    assert field.id == "field"


def test_bands_are_chosen_by_name_or_told_by_place(make_scene, tmp_path):
    make_scene("a.tif", height=20, width=20)
    make_scene("b.tif", height=20, width=20, bands=("red", "green", "blue"))
    chosen = open_scenes(tmp_path, bands=["green", "red"])
    assert [scene.bands for scene in chosen.scenes] == [("green", "red")] * 2


def test_what_cannot_be_opened_is_named(places, tmp_path):
    (tmp_path / "a" / "broken.tif").write_bytes(b"II*\0 no raster")
    with pytest.raises(SceneError, match=r"1 of 4 scenes cannot be used, .*10%.*broken\.tif"):
        open_scenes(tmp_path)
    found = open_scenes(tmp_path, most_skipped=0.3)
    assert len(found.scenes) == 3
    assert [one.name.rpartition("/")[2] for one in found.skipped] == ["broken.tif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="empty holds no scene; needed rasters"):
        open_scenes(tmp_path / "empty")
    table = tmp_path / "scenes.csv"
    table.write_text("name,sensor\nx,landsat-8-9\n")
    with pytest.raises(SceneError, match="row 1 has no path; needed a column path"):
        open_scenes(table)
    table.write_text("path,scale\na/lake_20200101.tif,much\n")
    with pytest.raises(SceneError, match="row 1 cannot be read"):
        open_scenes(table)


def test_products_in_a_folder_are_scenes(shared_data):
    folder = shared_data / "products"
    entries = list(find_entries([folder]))
    assert len(entries) == 2 + 2 + 5
    found = open_scenes(folder / "landsat_c2_l2", bands=["blue", "green", "red", "nir08"])
    assert len(found.scenes) == 2
    assert {scene.bands for scene in found.scenes} == {("blue", "green", "red", "nir08")}
