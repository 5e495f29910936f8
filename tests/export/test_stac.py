import json
from datetime import date
from pathlib import Path

import pystac
import pystac.validation
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.export.stac import map_item
from geofm.tasks import FLOOD

GEOBOX = GeoBox((100, 120), Affine(10, 0, 4e5, 0, -10, 5.8e6), "EPSG:32633")
FILES = {"classes": Path("x/flood.tif"), "confidence": Path("x/flood_confidence.tif")}


def item_of(dates, geobox=GEOBOX, footprint=None):
    return map_item(
        "flood",
        geobox=geobox,
        footprint=footprint or shapely.box(13, 52, 13.1, 52.1),
        dates=dates,
        classes=FLOOD.classes,
        files=FILES,
        receipt={"command": "geofm map"},
    )


@pytest.mark.parametrize(
    ("dates", "times"),
    [
        ([date(2020, 5, 1)], ("2020-05-01T00:00:00Z", None, None)),
        (
            [date(2020, 6, 1), date(2020, 5, 1)],
            (None, "2020-05-01T00:00:00Z", "2020-06-01T23:59:59Z"),
        ),
        ([None], (None, "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")),
    ],
)  # fmt: skip
def test_the_item_reads_back_with_its_times(dates, times):
    item = item_of(dates)
    assert pystac.Item.from_dict(json.loads(json.dumps(item))).id == "flood"
    properties = item["properties"]
    assert (
        properties["datetime"],
        properties.get("start_datetime"),
        properties.get("end_datetime"),
    ) == times


@pytest.mark.parametrize(
    "dates", [[date(2020, 5, 1)], [date(2020, 5, 1), date(2020, 6, 1)], [None]]
)
def test_pystac_finds_the_item_valid(dates):
    """By the schemas that pystac brings: STAC 1.1 and GeoJSON; those of extensions are online."""
    item = json.loads(json.dumps(item_of(dates)))
    (schema,) = pystac.validation.validate_dict(item, extensions=[])
    assert schema.endswith("/v1.1.0/item-spec/json-schema/item.json")
    with pytest.raises(pystac.STACValidationError, match="bbox"):
        pystac.validation.validate_dict({**item, "bbox": "here"}, extensions=[])


def test_grid_classes_and_receipt_are_there():
    item = item_of([None])
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["properties"]["proj:shape"] == [100, 120]
    assert item["properties"]["proj:transform"] == [10, 0, 4e5, 0, -10, 5.8e6]
    classes = item["assets"]["classes"]["classification:classes"]
    assert [c["value"] for c in classes] == [0, 1, 253, 254, 255]
    assert classes[1] == {
        "value": 1, "name": "water", "title": "water", "color_hint": "2166AC"
    }  # fmt: skip
    assert item["properties"]["geofm:receipt"] == {"command": "geofm map"}
    assert item["assets"]["confidence"]["href"] == "./flood_confidence.tif"


def test_across_the_antimeridian_west_lies_east_of_east():
    outline = shapely.MultiPolygon(
        [shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -178, -16)]
    )
    assert item_of([None], footprint=outline)["bbox"] == [179, -17, -178, -16]


def test_the_outline_has_no_more_points_than_its_sides_need():
    outline = shapely.box(13, 52, 13.1, 52.1).segmentize(0.001)
    assert len(item_of([None], footprint=outline)["geometry"]["coordinates"][0]) == 5


def test_a_projection_without_a_code_is_given_in_full():
    geobox = GeoBox((9, 9), GEOBOX.transform, "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84")
    properties = item_of([None], geobox)["properties"]
    assert properties["proj:code"] is None
    assert "Lambert" in properties["proj:wkt2"]
