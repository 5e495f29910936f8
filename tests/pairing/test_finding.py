"""Images find their labels: in folders, products and catalogues; nothing is dropped in silence."""

import geopandas
import numpy as np
import pandas
import pytest
from shapely.geometry import Point, box

from geofm.errors import ElsewhereError, GeofmError, LabelError, SplitError
from geofm.pairing.folders import find_in_folders
from geofm.pairing.open import open_catalog, open_pairs
from geofm.scenes.synthetic import make_labels, make_scene


@pytest.fixture
def folder(tmp_path):
    """Three chips side by side in ``images``, their truth in ``labels``."""
    from affine import Affine

    for n in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        grid = Affine(10, 0, 500_000 + 5000 * n, 0, -10, 5_900_000)
        scene = make_scene(
            tmp_path / f"images/chip_{n}_image.tif", height=40, width=50, seed=n, transform=grid
        )
        make_labels(tmp_path / f"labels/chip_{n}_label.tif", scene, seed=n)
    return tmp_path


def names(pairs):
    return [pair.name for pair in pairs]


class TestFolders:
    def test_by_name_with_what_is_left_over_told(self, folder):
        (folder / "images" / "._chip_0_image.tif").write_bytes(b"junk")
        (folder / "labels" / "chip_1_label.tif").rename(folder / "labels" / "other.tif")
        told = []
        pairs = open_pairs(folder / "images", folder / "labels", tell=told.append)
        assert names(pairs) == ["chip_0_image", "chip_2_image"]
        assert told == [
            "1 of 3 images have no labels: chip_1_image",
            "1 of 3 labels have no image: other.tif",
        ]
        with pytest.warns(UserWarning, match="have no "):
            open_pairs(folder / "images", folder / "labels")

    def test_one_folder_of_both(self, folder):
        for path in (folder / "labels").iterdir():
            path.rename(folder / "images" / path.name)
        pairs = open_pairs(folder / "images", folder / "images")
        assert len(pairs) == 3
        assert pairs[0].labels.path.endswith("chip_0_label.tif")
        for path in sorted((folder / "images").glob("*_label.tif")):
            path.unlink()
        with pytest.raises(LabelError, match="folder of both images and labels, and their names"):
            open_pairs(folder / "images", folder / "images")

    def test_single_files(self, folder):
        (pair,) = open_pairs(folder / "images/chip_1_image.tif", folder / "labels/chip_1_label.tif")
        assert pair.name == "chip_1_image"
        with pytest.raises(LabelError, match="is one raster, and there are 3 images"):
            open_pairs(folder / "images", folder / "labels/chip_1_label.tif")

    def test_polygons_for_all_and_whom_they_miss(self, folder):
        frame = geopandas.GeoDataFrame(
            {"kind": ["lake", "field", "lake"]},
            geometry=[
                box(500_100, 5_899_700, 500_300, 5_899_900),
                Point(510_105, 5_899_795),
                Point(800_000, 5_899_795),
            ],
            crs="EPSG:32633",
        )
        frame.to_crs("EPSG:4326").to_file(folder / "few.gpkg")
        told = []
        pairs = open_pairs(
            folder / "images", folder / "few.gpkg", codes={"lake": 1, "field": 0}, column="kind",
            tell=told.append,
        )  # fmt: skip
        assert names(pairs) == ["chip_0_image", "chip_2_image"]
        assert told == ["1 of 3 images have no labels: chip_1_image"]
        assert np.count_nonzero(pairs[0].labels.read() == 1) == 400
        assert pairs[1].labels.read()[20, 10] == 0
        with pytest.raises(ElsewhereError, match="no polygon or point on the scene"):
            open_pairs(folder / "images/chip_1_image.tif", folder / "few.gpkg", column="kind",
                       codes={"lake": 1})  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "count", "files"),
        [("hls_v2", 2, 1), ("landsat_c2_l2", 2, 11), ("sentinel2_safe", 5, 1)],
    )
    def test_products_are_scenes(self, shared_data, folder, kind, count, files):
        """Folders of granules and SAFE folders by their names, loose files by their product's."""
        found = find_in_folders(shared_data / "products" / kind, _polygons(folder))
        assert len(found.pairs) == count
        assert {len(pair.images) for pair in found.pairs} == {files}
        assert all(pair.images[0].count(pair.name) for pair in found.pairs)

    @pytest.mark.parametrize(
        ("images", "labels", "said"),
        [
            ("absent", "labels", "there is no folder .* of images"),
            ("images", "absent", "there is no folder or file .* of labels"),
            ("empty", "labels", "holds no raster"),
            ("images", "empty", "holds no raster .* and no polygons"),
            ("images", "others", "no image has labels of its name"),
        ],
    )
    def test_what_cannot_be_paired_is_said(self, folder, images, labels, said):
        (folder / "empty").mkdir()
        (folder / "others").mkdir()
        (folder / "labels/chip_0_label.tif").rename(folder / "others/nothing.tif")
        with pytest.raises(LabelError, match=said):
            open_pairs(folder / images, folder / labels)

    def test_two_labels_of_one_name(self, folder):
        (folder / "labels/chip_1_label.tif").rename(folder / "labels/chip_0_mask.tif")
        with pytest.raises(LabelError, match="are labels of one name; keep one"):
            open_pairs(folder / "images", folder / "labels")


def _polygons(folder):
    path = folder / "p.gpkg"
    frame = geopandas.GeoDataFrame({"code": [1]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    frame.to_file(path)
    return path


class TestCatalogues:
    ROWS = (
        "image,label,date,region,split,sensor\n"
        "images/chip_0_image.tif,labels/chip_0_label.tif,2021-06-01,north,training,S2\n"
        "images/chip_1_image.tif,labels/chip_1_label.tif,2021-06-02,south,valid,S2\n"
        "images/chip_2_image.tif,labels/chip_2_label.tif,,south,test,\n"
    )

    def test_rows_are_pairs(self, folder):
        path = folder / "pairs.csv"
        path.write_text(self.ROWS)
        pairs = open_catalog(path, groups="region")
        assert names(pairs) == ["chip_0_image", "chip_1_image", "chip_2_image"]
        assert [pair.split for pair in pairs] == ["train", "val", "test"]
        assert [pair.group for pair in pairs] == ["north", "south", "south"]
        assert pairs[0].facts == {"region": "north", "sensor": "S2"}
        assert pairs[2].facts == {"region": "south"}
        assert str(pairs[1].scene.dates[0]) == "2021-06-02"
        assert str(pairs[2].scene.dates[0]) == "2020-01-01"  # its file says

    def test_parquet_with_and_without_geometry_says_the_same(self, folder):
        path = folder / "pairs.csv"
        path.write_text(self.ROWS)
        frame = pandas.read_csv(path)
        frame["date"] = pandas.to_datetime(frame["date"])
        frame.to_parquet(folder / "plain.parquet")
        places = [Point(12 + n, 52) for n in range(3)]
        geo = geopandas.GeoDataFrame(frame, geometry=places, crs="EPSG:4326")
        geo.to_parquet(folder / "geo.parquet")
        expected = [(p.name, p.split, p.facts, p.scene.dates) for p in open_catalog(path)]
        for name in ("plain.parquet", "geo.parquet"):
            found = open_catalog(folder / name)
            assert [(p.name, p.split, p.facts, p.scene.dates) for p in found] == expected

    def test_two_images_are_two_dates(self, folder):
        before = folder / "images/chip_0_image.tif"
        after = folder / "images/after.tif"
        after.write_bytes(before.read_bytes())
        path = folder / "pairs.csv"
        path.write_text(
            "name,images,labels,dates,group\n"
            f"fire,images/chip_0_image.tif; images/after.tif,{folder}/labels/chip_0_label.tif,"
            "2021-05-01;2021-09-01,camp\n"
        )
        (pair,) = open_catalog(path)
        assert (pair.name, pair.group, len(pair.scene.dates)) == ("fire", "camp", 2)
        assert pair.scene.read().values.shape == (2, 6, 40, 50)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "has no rows"),
            ("image,label\n", "has no rows"),
            ("image,date\na.tif,2020-01-01\n", "has the columns image, date; needed image and lab"),
            ("image,label\na.tif,\n", "row 1 has no label; give its path"),
            ("image,label\n,b.tif\n", "row 1 has no image"),
            ("image,label,split\na.tif,b.tif,dev\n", "split 'dev' is unknown; needed train"),
            ("image,label\na.tif,b.tif\n", "a.tif does not exist"),
        ],
    )
    def test_what_is_wrong_with_a_table_is_said(self, tmp_path, text, said):
        (tmp_path / "pairs.csv").write_text(text)
        with pytest.raises(GeofmError, match=said):
            open_catalog(tmp_path / "pairs.csv")

    def test_files_that_are_no_table(self, tmp_path):
        with pytest.raises(LabelError, match="there is no table"):
            open_catalog(tmp_path / "absent.csv")
        (tmp_path / "p.parquet").write_text("no")
        with pytest.raises(LabelError, match="cannot be read as a table"):
            open_catalog(tmp_path / "p.parquet")


class TestGroups:
    def test_by_a_table(self, folder):
        (folder / "places.csv").write_text("chip,place\nchip_0_image.tif,7\nchip_1_image,7\n"
                                           "chip_2_image,8\n")  # fmt: skip
        pairs = open_pairs(
            folder / "images", folder / "labels", groups=f"{folder}/places.csv:place"
        )
        assert [pair.group for pair in pairs] == ["7", "7", "8"]

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("places.csv:area", "has no column 'area'; it has chip, place"),
            ("places.csv:place", "gives 2 of 3 pairs no group: chip_1_image, chip_2_image"),
            ("region", "needed a table as FILE:COLUMN"),
        ],
    )
    def test_what_names_no_groups(self, folder, monkeypatch, source, said):
        monkeypatch.chdir(folder)
        (folder / "places.csv").write_text("chip,place\nchip_0_image,7\n")
        with pytest.raises(SplitError, match=said):
            open_pairs(folder / "images", folder / "labels", groups=source)

    def test_the_real_places(self, shared_data):
        data = shared_data / "flood_water_hls_chips"
        from geofm.pairing.groups import _groups

        names = [path.stem for path in (data / "images").iterdir()]
        assert len(set(_groups(data / "chips.csv", "place", names).values())) == 20
