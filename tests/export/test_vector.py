"""Polygons hold exactly the mapped pixels: areas, classes, holes, whatever the strips."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from rasterio.features import rasterize

from geofm.errors import GridError, OutputError
from geofm.export.vector import (
    check_polygons_output,
    find_polygons,
    write_polygons,
)
from geofm.scenes.areas import pixel_areas
from geofm.scenes.window import Window
from geofm.tasks import MapClass

KINDS = tuple(MapClass(name, "#000000") for name in ("land", "water", "reed"))
CODES = st.sampled_from([0, 0, 1, 1, 2, 253, 254, 255])
RASTERS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=CODES)
)
UTM = "EPSG:32633"
STEP = Affine(10, 0, 3e5, 0, -10, 5.8e6)


def grid(shape, transform=STEP, crs=UTM) -> GeoBox:
    return GeoBox(shape, transform, crs)


def polygons_of(
    classes, *, geobox=None, strip_rows=None, min_area=0.0, simplify=0.0, confidence=None
):
    geobox = geobox or grid(classes.shape)
    confidence = np.full_like(classes, 80) if confidence is None else confidence

    def read(window):
        return classes[window.slices], confidence[window.slices]

    batches = list(
        find_polygons(read, geobox, strip_rows=strip_rows, min_area=min_area, simplify=simplify)
    )
    assert len(batches) == 1
    return batches[0]


def pixel_pieces(classes) -> int:
    """Count 4-connected areas of one class, by flooding."""
    left = {tuple(at) for at in np.argwhere(classes < 253)}
    count = 0
    while left:
        count, todo = count + 1, [left.pop()]
        while todo:
            row, col = todo.pop()
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if near in left and classes[near] == classes[row, col]:
                    left.remove(near)
                    todo.append(near)
    return count


@given(RASTERS, st.integers(1, 5))
@settings(max_examples=60)
def test_polygons_are_the_pixels(classes, strip_rows) -> None:
    geobox = grid(classes.shape)
    found = polygons_of(classes, strip_rows=strip_rows)
    assert shapely.is_valid(found.geometry).all()
    assert len(found.codes) == pixel_pieces(classes)  # 4-connected, none cut, none joined
    assert not (found.codes >= 253).any()
    areas = pixel_areas(geobox, Window(0, 0, *classes.shape))
    for code in range(3):
        here, pixels = found.codes == code, classes == code
        assert shapely.area(found.geometry[here]).sum() == pytest.approx(pixels.sum() * 100)
        assert found.hectares[here].sum() == pytest.approx(areas[pixels].sum() / 1e4)
    if len(found.codes):  # drawn again, every pixel has its class
        drawn = rasterize(
            zip(found.geometry, found.codes.tolist(), strict=True),
            out_shape=classes.shape,
            transform=geobox.affine,
            fill=255,
            dtype=np.uint8,
        )
        np.testing.assert_array_equal(drawn, np.where(classes < 253, classes, 255))


@given(RASTERS, st.integers(1, 5))
@settings(max_examples=60)
def test_strips_leave_no_trace(classes, strip_rows) -> None:
    cut = polygons_of(classes, strip_rows=strip_rows)
    whole = polygons_of(classes, strip_rows=100)

    def plain(found):
        """Normal outlines: with the same points, equal as text."""
        return sorted(
            (code, area.normalize().wkt, hectares)
            for area, code, hectares in zip(
                found.geometry, found.codes, found.hectares, strict=True
            )
        )

    assert [row[:2] for row in plain(cut)] == [row[:2] for row in plain(whole)]
    # Strips are added up one by one, and rounding follows the order of a sum.
    np.testing.assert_allclose(
        [row[2] for row in plain(cut)], [row[2] for row in plain(whole)], rtol=1e-9
    )


def smooth_field(height, width, seed=0):
    """Three classes of a smooth random field: 0.4 of the first, 0.3 of each other."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    down, across = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    kept = np.exp(-((down**2 + across**2) / 0.03**2))
    field = np.fft.irfft2(np.fft.rfft2(noise) * kept, s=noise.shape)
    return np.digitize(field, np.quantile(field, [0.4, 0.7])).astype(np.uint8)


def borders(polygons, geobox):
    """Length of the polygons' borders on each line between rows, pixels, (height + 1,)."""
    found = np.zeros(geobox.shape[0] + 1)
    for ring in shapely.get_rings(polygons):
        cols, rows = ~geobox.affine @ tuple(shapely.get_coordinates(ring).T)
        level = np.isclose(rows[1:], rows[:-1])
        lines = np.rint(rows[1:][level]).astype(int)
        np.add.at(found, lines, abs(np.diff(cols))[level])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_no_border_runs_along_a_strip_more_often_than_chance(seed) -> None:
    classes = smooth_field(640, 300, seed)
    found = polygons_of(classes, strip_rows=10)
    length = borders(found.geometry, grid(classes.shape))[1:-1]
    edge = np.arange(1, 640) % 10 == 0
    # Truly: a border is where the class changes, on both sides of it.
    np.testing.assert_allclose(length, 2 * (np.diff(classes.astype(int), axis=0) != 0).sum(axis=1))
    chance = length[~edge].mean()
    error = length[~edge].std() / np.sqrt(edge.sum())
    assert abs(length[edge].mean() - chance) < 3 * error
    assert length.mean() > 10  # there are borders to speak of


@given(RASTERS, st.floats(0.5, 60))
@settings(max_examples=60)
def test_simplified_neighbours_keep_one_border(classes, metres) -> None:
    plain, fewer = polygons_of(classes), polygons_of(classes, simplify=metres)
    assert shapely.is_valid(fewer.geometry).all()
    assert shapely.coverage_is_valid(fewer.geometry)  # no overlap, and no gap along a border
    # Where three areas meet, the straight border of one has a corner too.
    noded = shapely.segmentize(plain.geometry, 10)
    assert shapely.get_num_coordinates(fewer.geometry).sum() <= (
        shapely.get_num_coordinates(noded).sum()
    )
    for name in ("codes", "hectares", "confidence"):  # of the pixels, as before
        np.testing.assert_array_equal(getattr(fewer, name), getattr(plain, name))


def test_simplifying_smooths_steps_and_keeps_the_ground() -> None:
    classes = smooth_field(120, 150)
    plain, fewer = polygons_of(classes), polygons_of(classes, simplify=20)
    corners = [shapely.get_num_coordinates(found.geometry).sum() for found in (plain, fewer)]
    assert corners[1] < 0.4 * corners[0]
    assert shapely.coverage_is_valid(fewer.geometry)
    whole = shapely.union_all(fewer.geometry)
    assert shapely.area(fewer.geometry).sum() == pytest.approx(whole.area)
    assert whole.area == pytest.approx(120 * 150 * 100, rel=0.01)
    for code in range(3):
        here = plain.codes == code
        before, after = (shapely.area(found.geometry[here]).sum() for found in (plain, fewer))
        assert after == pytest.approx(before, rel=0.03)


def test_an_old_geos_is_refused_before_any_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("geofm.export.simplify.shapely.geos_version", (3, 11, 4))
    with pytest.raises(OutputError, match=r"GEOS 3\.12.*3\.11\.4.*--simplify"):
        check_polygons_output(tmp_path / "a.gpkg", overwrite=False, simplify=10)
    check_polygons_output(tmp_path / "a.gpkg", overwrite=False)


def test_a_hole_stays_a_hole_and_corners_join_nothing() -> None:
    classes = np.array(
        [[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]],
        np.uint8,
    )
    found = polygons_of(classes, strip_rows=1)
    assert sorted(found.codes.tolist()) == [0, 0, 0, 1]
    water = found.geometry[found.codes == 1][0]
    assert water.area == 13 * 100
    assert len(water.interiors) in (1, 2)


def test_confidence_is_the_mean_and_small_ones_go() -> None:
    classes = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)
    confidence = np.array([[60, 90, 100], [100, 100, 100]], np.uint8)
    found = polygons_of(classes, confidence=confidence, strip_rows=1)
    assert found.confidence[found.codes == 1] == pytest.approx(75)
    large = polygons_of(classes, confidence=confidence, min_area=0.03)
    assert large.codes.tolist() == [0]


GRIDS = {
    "utm": grid((40, 50)),
    "far from the meridian": grid((40, 50), Affine(30, 0, 9e5, 0, -30, 7.5e6)),
    "web": grid((40, 50), Affine(20, 0, 1.4e6, 0, -20, 8.4e6), "EPSG:3857"),
    "degrees": grid((40, 50), Affine(0.001, 0, 12.5, 0, -0.001, 52.5), "EPSG:4326"),
    "coarse degrees": grid((40, 50), Affine(0.25, 0, -20, 0, -0.25, 70), "EPSG:4326"),
    "antimeridian": grid((40, 50), Affine(0.01, 0, 179.8, 0, -0.01, -16), "EPSG:4326"),
    "polar": grid((40, 50), Affine(100, 0, -2500, 0, -100, 2000), "EPSG:3031"),
    "rotated": grid((40, 50), Affine(8, 6, 3e5, 6, -8, 5.8e6)),
    "south up": grid((40, 50), Affine(10, 0, 3e5, 0, 10, 5.8e6)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_hectares_are_geodesic(name) -> None:
    """Against Karney's polygon area (GeographicLib) of the densified outline."""
    geobox, classes = GRIDS[name], np.zeros((40, 50), np.uint8)
    classes[5:25, 8:31] = 1
    classes[10:14, 12:20] = 0
    found = polygons_of(classes, geobox=geobox, strip_rows=7)
    to_lonlat = Transformer.from_crs(
        UTM if geobox.crs is None else geobox.crs.to_wkt(), 4326, always_xy=True
    )
    geod = Geod(ellps="WGS84")
    island = found.geometry[found.hectares.argmin()]
    dense = shapely.segmentize(island, abs(geobox.affine.a) or 1)
    lon, lat = to_lonlat.transform(*shapely.get_coordinates(dense).T)
    area = abs(geod.polygon_area_perimeter(np.unwrap(lon, period=360), lat)[0]) / 1e4
    assert found.hectares.min() == pytest.approx(area, rel=2e-4)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_files_open_elsewhere(tmp_path, suffix) -> None:
    import geopandas as gpd

    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    classes = np.zeros((9, 11), np.uint8)
    classes[2:5, 3:7], classes[0, 0] = 1, 255
    out = tmp_path / f"polygons{suffix}"

    def read(window):
        return classes[window.slices], np.full(classes.shape, 70, np.uint8)[window.slices]

    written = write_polygons(read, grid(classes.shape), KINDS, out, layer="water")
    assert not out.exists()  # the caller moves it
    table = gpd.read_file(written) if suffix == ".gpkg" else gpd.read_parquet(written)
    assert list(table.columns) == ["class", "class_name", "hectares", "confidence", "geometry"]
    assert table.crs.to_epsg() == 32633
    assert dict(zip(table["class_name"], table.area, strict=True)) == {
        "water": 1200,
        "land": 8600,
    }
    assert (table["confidence"] == 70).all()


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_map_without_classes_gives_an_empty_table(tmp_path, suffix) -> None:
    import geopandas as gpd

    nothing = np.full((5, 6), 255, np.uint8)
    written = write_polygons(
        lambda window: (nothing[window.slices], nothing[window.slices]),
        grid(nothing.shape),
        KINDS,
        tmp_path / f"none{suffix}",
        layer="water",
    )
    table = gpd.read_file(written) if suffix == ".gpkg" else gpd.read_parquet(written)
    assert len(table) == 0
    assert "hectares" in table


def test_many_batches_make_one_file(tmp_path, monkeypatch) -> None:
    import geopandas as gpd

    monkeypatch.setattr("geofm.export.vector.BATCH", 7)
    board = (np.indices((8, 8)).sum(axis=0) % 2).astype(np.uint8)
    written = write_polygons(
        lambda window: (board[window.slices], board[window.slices]),
        grid(board.shape),
        KINDS,
        tmp_path / "board.gpkg",
        layer="water",
    )
    assert len(gpd.read_file(written)) == 64


def test_a_failure_leaves_nothing(tmp_path) -> None:
    def read(window):
        raise RuntimeError("torn cable")

    with pytest.raises(RuntimeError, match="torn cable"):
        write_polygons(read, grid((5, 5)), KINDS, tmp_path / "a.gpkg", layer="water")
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(tmp_path) -> None:
    with pytest.raises(OutputError, match=r"ends in \.gpkg or \.parquet"):
        check_polygons_output(tmp_path / "a.shp", overwrite=False)
    (tmp_path / "a.gpkg").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        check_polygons_output(tmp_path / "a.gpkg", overwrite=False)
    check_polygons_output(tmp_path / "a.gpkg", overwrite=True)
    with pytest.raises(GridError, match="no CRS"):
        polygons_of(np.zeros((2, 2), np.uint8), geobox=grid((2, 2), crs=None))
