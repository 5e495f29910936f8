"""Many maps as one: the VRT shows what a plain mosaic in numpy shows, the collection is STAC."""

import json
from datetime import date

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geofm.export.collection import read_items, write_index
from geofm.export.mosaic import MosaicPart, group_parts, mosaic_vrt
from geofm.export.stac import map_item
from geofm.scenes.facts import read_facts
from geofm.tasks import FLOOD, NODATA

UTM = "EPSG:32633"


def write_map(folder, name, classes, *, row=0, col=0, crs=UTM, side=10.0, day=None, sha="m"):
    """The classes and the item of a map."""
    geobox = GeoBox(
        classes.shape, Affine(side, 0, 4e5 + col * side, 0, -side, 5.8e6 - row * side), crs
    )
    files = {"classes": folder / f"{name}.tif", "confidence": folder / f"{name}_confidence.tif"}
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NODATA}
    height, width = classes.shape
    with rasterio.open(
        files["classes"], "w", height=height, width=width, crs=crs, transform=geobox.transform,
        **profile,
    ) as file:  # fmt: skip
        file.write(classes, 1)
    item = map_item(
        name, geobox=geobox, footprint=shapely.box(13, 52, 13.1, 52.1), dates=[day],
        classes=FLOOD.classes, files=files, receipt={"model": {"name": "m", "sha256": sha}},
    )  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(item))
    return geobox


def index(folder, sha="m"):
    items = list(read_items(folder, sha256=sha))
    return write_index(
        folder, items, classes=FLOOD.classes, description="d", licences=["cc-by-4.0"]
    )


def codes(rng, height, width):
    """Classes with holes."""
    return rng.choice(np.array([0, 1, 253, 254, NODATA], np.uint8), (height, width))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(
        st.tuples(*(st.integers(-40, 40) for _ in "rc"), *(st.integers(1, 30) for _ in "hw")),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 99),
)
def test_the_vrt_is_the_plain_mosaic(tmp_path_factory, places, seed):
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(seed)
    maps = [(row, col, codes(rng, height, width)) for row, col, height, width in places]
    for n, (row, col, classes) in enumerate(maps):
        write_map(folder, f"map{n}", classes, row=row, col=col)
    top, left = min(row for row, _, _ in maps), min(col for _, col, _ in maps)
    bottom = max(row + len(classes) for row, _, classes in maps)
    right = max(col + classes.shape[1] for _, col, classes in maps)
    expected = np.full((bottom - top, right - left), NODATA, np.uint8)
    for row, col, classes in maps:  # the later lies on top, holes show what is below
        here = expected[row - top :, col - left :][: len(classes), : classes.shape[1]]
        np.copyto(here, classes, where=classes != NODATA)
    found = index(folder)
    with rasterio.open(found.mosaics[0]) as file:
        np.testing.assert_array_equal(file.read(1), expected)
        assert file.transform == Affine(10, 0, 4e5 + left * 10, 0, -10, 5.8e6 - top * 10)
        assert file.crs == UTM
        assert file.nodata == NODATA
        assert file.colormap(1)[1][:3] == (0x21, 0x66, 0xAC)


def test_the_later_date_lies_on_top(tmp_path):
    write_map(tmp_path, "a", np.ones((4, 5), np.uint8), day=date(2024, 5, 2))
    write_map(tmp_path, "b", np.zeros((4, 5), np.uint8), day=date(2024, 5, 1))
    with rasterio.open(index(tmp_path).mosaics[0]) as file:
        assert (file.read(1) == 1).all()


def test_each_crs_and_pixel_size_has_its_vrt_and_old_ones_go(tmp_path):
    square = np.ones((6, 6), np.uint8)
    write_map(tmp_path, "a", square)
    assert [path.name for path in index(tmp_path).mosaics] == ["classes.vrt", "confidence.vrt"]
    write_map(tmp_path, "b", square, crs="EPSG:32634")
    write_map(tmp_path, "c", square, side=20.0)
    (tmp_path / "classes_of_mine.vrt").write_text("mine")
    found = index(tmp_path)
    assert [path.name for path in found.mosaics][:3] == [
        "classes_EPSG32633_10x10.vrt", "classes_EPSG32634.vrt", "classes_EPSG32633_20x20.vrt",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.glob("*.vrt")} - {p.name for p in found.mosaics} == {
        "classes_of_mine.vrt"
    }


def test_what_is_not_north_up_is_named_apart(tmp_path):
    box = GeoBox((4, 4), Affine(8, 2, 4e5, 2, -8, 5.8e6), UTM)
    assert group_parts([MosaicPart("a.tif", box)]) == []
    south_up = GeoBox((4, 4), Affine(10, 0, 4e5, 0, 10, 5.8e6), UTM)
    assert group_parts([MosaicPart("a.tif", south_up)]) == []
    write_map(tmp_path, "a", np.ones((6, 6), np.uint8))
    item = json.loads((tmp_path / "a.json").read_text())
    item["properties"]["proj:transform"] = [8, 2, 4e5, 2, -8, 5.8e6]
    (tmp_path / "a.json").write_text(json.dumps(item))
    found = index(tmp_path)
    assert (found.mosaics, found.apart) == ((), ("a",))


def test_a_mosaic_opens_no_map_before_it_is_looked_at(tmp_path):
    """Ten thousand files are not opened to show one corner."""
    part = MosaicPart("absent.tif", GeoBox((40, 40), Affine(10, 0, 4e5, 0, -10, 5.8e6), UTM))
    (tmp_path / "a.vrt").write_text(mosaic_vrt([part], name="classes", classes=FLOOD.classes))
    with rasterio.open(tmp_path / "a.vrt") as file:
        assert file.shape == (40, 40)


def test_a_mosaic_tells_its_classes(tmp_path):
    write_map(tmp_path, "a", np.ones((6, 6), np.uint8))
    facts = read_facts(index(tmp_path).mosaics[0])
    assert [facts.categories[code] for code in (0, 1)] == [kind.name for kind in FLOOD.classes]
    assert [facts.colors[code] for code in (0, 1)] == [kind.color for kind in FLOOD.classes]


def test_the_collection_reads_back_with_its_items(tmp_path):
    square = np.ones((6, 6), np.uint8)
    write_map(tmp_path, "b", square, day=date(2024, 5, 2))
    write_map(tmp_path, "a", square, day=date(2023, 1, 7))
    write_map(tmp_path, "c", square)
    write_map(tmp_path, "other", square, sha="another model")
    (tmp_path / "notes.json").write_text("[1]")
    found = index(tmp_path)
    collection = pystac.Collection.from_file(str(found.collection))
    assert [item.id for item in collection.get_items()] == ["a", "b", "c"]
    assert collection.license == "cc-by-4.0"
    ((begin, end),) = collection.extent.temporal.intervals
    assert (begin.date(), end.date()) == (date(2023, 1, 7), date(2024, 5, 2))
    assert collection.extent.spatial.bboxes == [[13, 52, 13.1, 52.1]]
    assert set(collection.assets) == {"classes", "confidence"}
    assert not list(tmp_path.glob(".*.part"))


def test_across_the_antimeridian_the_extent_holds_both_sides(tmp_path):
    write_map(tmp_path, "a", np.ones((6, 6), np.uint8))
    item = json.loads((tmp_path / "a.json").read_text())
    item["bbox"] = [179, -17, -178, -16]
    (tmp_path / "a.json").write_text(json.dumps(item))
    collection = json.loads(index(tmp_path).collection.read_text())
    assert collection["extent"]["spatial"]["bbox"] == [[-180, -17, 180, -16]]


@pytest.mark.parametrize("licences", [[], ["a", "b"]])
def test_several_licences_are_other(tmp_path, licences):
    write_map(tmp_path, "a", np.ones((6, 6), np.uint8))
    items = list(read_items(tmp_path, sha256="m"))
    write_index(tmp_path, items, classes=FLOOD.classes, description="d", licences=licences)
    assert json.loads((tmp_path / "collection.json").read_text())["license"] == "other"
