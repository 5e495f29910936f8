"""STAC items and collections: bands, units and the Sentinel-2 offset, whoever published them."""

import json
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geofm.errors import BandError, SceneError, UnitsError
from geofm.scenes.offsets import sentinel2_offset
from geofm.scenes.open import open_scene

RNG = np.random.default_rng(0)
RED = RNG.integers(1_300, 6_000, (40, 50)).astype(np.uint16)
RED[:4] = 0


def write(path: Path, *bands: np.ndarray, pixel=10.0) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", count=len(bands), height=bands[0].shape[0],
        width=bands[0].shape[1], dtype=bands[0].dtype, crs="EPSG:32633",
        transform=from_origin(5e5, 4e6, pixel, pixel),
    ) as file:  # fmt: skip
        file.write(np.stack(bands))
    return path.name


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "red.tif", RED)
    write(tmp_path / "nir.tif", RED[::-1].copy())
    write(tmp_path / "swir.tif", RED[::2, ::2].copy(), pixel=20)
    write(tmp_path / "scl.tif", np.full((20, 25), 9, np.uint8), pixel=20)
    write(tmp_path / "both.tif", RED, RED + np.uint16(1))
    return tmp_path


def item(**properties: Any) -> dict[str, Any]:
    """As Earth Search v1 writes one."""
    raster = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2B_33UUU_20230507_0_L2A",
        "collection": "sentinel-2-l2a", "links": [],
        "properties": {
            "datetime": "2023-05-07T10:10:10Z", "platform": "sentinel-2b",
            "s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True,
            **properties,
        },
        "assets": {
            "red": {"href": "red.tif", "eo:bands": [{"name": "red", "common_name": "red"}],
                    "raster:bands": raster, "roles": ["data", "reflectance"],
                    "proj:transform": [10, 0, 5e5, 0, -10, 4e6]},
            "nir": {"href": "nir.tif", "eo:bands": [{"name": "nir", "common_name": "nir"}],
                    "raster:bands": raster, "roles": ["data", "reflectance"]},
            "rededge1": {"href": "swir.tif", "raster:bands": raster, "roles": ["data"],
                         "eo:bands": [{"name": "rededge1", "common_name": "rededge"}]},
            "scl": {"href": "scl.tif", "roles": ["data"]},
            "visual": {"href": "both.tif", "roles": ["visual"],
                       "eo:bands": [{"common_name": "red"}, {"common_name": "green"}]},
            "red-jp2": {"href": "missing.jp2", "roles": ["data"],
                        "eo:bands": [{"name": "red", "common_name": "red"}]},
            "granule_metadata": {"href": "metadata.xml", "type": "application/xml"},
        },
    }  # fmt: skip


def saved(folder: Path, found: dict[str, Any], name: str = "item.json") -> Path:
    (folder / name).write_text(json.dumps(found))
    return folder / name


def test_an_item_of_earth_search(folder):
    scene = open_scene(saved(folder, item()))
    assert (scene.id, scene.level) == ("S2B_33UUU_20230507_0_L2A", "surface")
    assert scene.bands == ("red", "nir", "rededge071")
    assert scene.dates == (date(2023, 5, 7),)
    assert scene.quality.name == "Sentinel-2 SCL"
    # Its provider says that the offset was applied, and publishes it all the same.
    assert (np.unique(scene.scale), np.unique(scene.offset)) == (np.float32(1e-4), 0)
    stored = scene.read_stored(bands=["red"])
    np.testing.assert_array_equal(stored.dn[0, 0], RED)
    np.testing.assert_array_equal(stored.valid[0], RED != 0)
    masked = scene.setting_aside(["cloud"]).read_stored(bands=["red"]).masked
    np.testing.assert_array_equal(masked[0], RED != 0)


@pytest.mark.parametrize(
    ("properties", "published", "expected"),
    [
        ({"s2:processing_baseline": "02.14"}, None, 0),
        ({"s2:processing_baseline": "02.14"}, 0, 0),
        ({"s2:processing_baseline": "04.00"}, None, -0.1),
        ({"s2:processing_baseline": "05.11"}, -0.1, -0.1),
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}, -0.1, 0),
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}, None, 0),
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False}, -0.1, -0.1),
        ({"sentinel:processing_baseline": "04.00", "sentinel:boa_offset_applied": True}, None, 0),
        ({}, -0.1, -0.1),
        # No rule decides these.
        ({"s2:processing_baseline": "02.14"}, -0.1, None),
        ({"s2:processing_baseline": "04.00"}, 0, None),
        ({}, None, None),
    ],
)
def test_offsets_by_provider_and_baseline(properties, published, expected):
    offset, problem = sentinel2_offset({"properties": properties}, published)
    if expected is None:
        assert problem is not None
        assert problem.refuse
    else:
        assert offset == expected
        assert problem is None or not problem.refuse


def test_a_conflict_is_refused_unless_the_caller_decides(folder):
    path = saved(folder, item(**{"s2:processing_baseline": "02.14"}))
    message = r"publishes an offset of -0.1, and processing baseline 02.14 means 0; .* offset=-0.1"
    with pytest.raises(UnitsError, match=message):
        open_scene(path)
    assert np.unique(open_scene(path, offset=0).offset) == 0


def test_a_doubtful_flag_is_tried_on_the_pixels(folder):
    found = item(**{"earthsearch:boa_offset_applied": False})
    path = saved(folder, found)
    assert np.unique(open_scene(path).offset) == np.float32(-0.1)
    # The same item over pixels that had their offset taken off: reflectance below 0.
    write(folder / "red.tif", np.where(RED, RED - 1_000, 0).astype(np.uint16) // 6)
    with pytest.raises(UnitsError, match="likely the offset has been applied already: give off"):
        open_scene(path)


def test_stac_1_1_bands(folder):
    found = item()
    found["stac_version"] = "1.1.0"
    found["assets"] = {
        "B04": {"href": "red.tif", "bands": [{"name": "B04", "eo:common_name": "red"}],
                "raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0, "roles": ["data"]},
        "cube": {"href": "both.tif", "nodata": 0, "roles": ["data"], "bands": [
            {"name": "B03", "raster:scale": 0.0001}, {"name": "B8A", "raster:scale": 0.0001}]},
    }  # fmt: skip
    del found["properties"]["earthsearch:boa_offset_applied"]
    scene = open_scene(saved(folder, found))
    assert scene.bands == ("red", "green", "nir08")
    stored = scene.read_stored()
    np.testing.assert_array_equal(stored.dn[0, 2], RED + np.uint16(1))
    assert np.unique(scene.offset) == np.float32(-0.1)


def test_landsat_and_hls_items_need_no_raster_extension(folder):
    landsat = {
        "type": "Feature", "id": "LC09_L2SP_190024_20220305_02_T1", "collection": "landsat-c2-l2",
        "properties": {"datetime": "2022-03-05T10:00:00Z", "platform": "landsat-9"},
        "assets": {
            "red": {"href": "red.tif", "eo:bands": [{"name": "OLI_B4", "common_name": "red"}]},
            "lwir11": {"href": "nir.tif", "eo:bands": [{"common_name": "lwir11"}]},
            "qa_pixel": {"href": "scl.tif"},
        },
    }  # fmt: skip
    scene = open_scene(saved(folder, landsat))
    assert (scene.bands, scene.level) == (("red",), "surface")
    assert (scene.scale[0, 0], scene.offset[0, 0]) == (np.float32(2.75e-5), np.float32(-0.2))
    assert scene.quality.name == "Landsat QA_PIXEL"
    hls = {
        "type": "Feature", "id": "HLS.L30.T33UUU.2022064T100000.v2.0", "collection": "HLSL30_2.0",
        "properties": {"datetime": "2022-03-05T10:00:00Z"},
        "assets": {"B05": {"href": "red.tif"}, "SAA": {"href": "nir.tif"}},
    }  # fmt: skip
    scene = open_scene(saved(folder, hls))
    assert (scene.bands, scene.level) == (("nir08",), "surface")
    assert (scene.scale[0, 0], scene.offset[0, 0]) == (np.float32(1e-4), 0)


def test_items_stack_by_date(folder):
    older = item(**{"datetime": "2021-05-07T10:10:10Z", "s2:processing_baseline": "03.00"})
    older["id"] = "older"
    for asset in older["assets"].values():
        asset.pop("raster:bands", None)
    newer = item()
    del newer["properties"]["earthsearch:boa_offset_applied"]
    collection = {"type": "FeatureCollection", "features": [newer, older]}
    scene = open_scene(saved(folder, collection), bands=["red"])
    assert scene.dates == (date(2021, 5, 7), date(2023, 5, 7))
    np.testing.assert_array_equal(scene.offset[:, 0], np.float32([0, -0.1]))
    with pytest.raises(SceneError, match=r"2 products are of 2023-05-07"):
        open_scene(saved(folder, collection | {"features": [newer, deepcopy(newer)]}))


def test_items_without_a_date_do_not_stack(folder):
    one, other = item(datetime=None), item()
    collection = {"type": "FeatureCollection", "features": [one, other]}
    path = saved(folder, collection)
    with pytest.raises(SceneError, match=r"states no date, and 2 products are to be stacked"):
        open_scene(path)
    scene = open_scene(path, dates=["2020-01-01", "2020-02-01"], bands=["red"])
    assert scene.dates == (date(2020, 1, 1), date(2020, 2, 1))
    assert open_scene(saved(folder, one), bands=["red"]).dates == (None,)


def test_an_item_under_the_name_of_its_product(folder):
    found = item()
    name = "LC09_L2SP_190024_20220305_20220307_02_T1_SR_stac.json"
    assert open_scene(saved(folder, found, name), bands=["red"]).id == found["id"]


def test_a_collection_of_files(folder):
    saved(folder, item())
    links = [{"rel": "item", "href": "./item.json"}, {"rel": "self", "href": "./collection.json"}]
    collection = {"type": "Collection", "id": "s2", "links": links}
    scene = open_scene(saved(folder, collection, "collection.json"), bands=["red"])
    np.testing.assert_array_equal(scene.read_stored().dn[0, 0], RED)


def test_pystac_objects_and_dicts(folder):
    pystac = pytest.importorskip("pystac")
    path = saved(folder, item())
    found = pystac.Item.from_file(str(path))
    scene = open_scene(found, bands=["red"])
    np.testing.assert_array_equal(scene.read_stored().dn[0, 0], RED)
    absolute = item()
    for asset in absolute["assets"].values():
        asset["href"] = str(folder / asset["href"])
    assert open_scene(absolute, bands=["red"]).bands == ("red",)
    assert open_scene([absolute], bands=["red"]).bands == ("red",)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"type": "FeatureCollection", "features": []}, SceneError, "the collection holds no item"),
        ({"type": "Collection", "id": "s2", "links": []}, SceneError, "collection holds no item"),
        (
            {"type": "Collection", "id": "s2", "links": [{"rel": "items", "href": "x"}]},
            SceneError,
            "s2 is a collection of a search server; .* search it first",
        ),
        ({"type": "Topology"}, SceneError, "is JSON of type 'Topology'; needed a STAC item"),
        ({"type": "Feature", "id": "a"}, SceneError, "a has no assets; needed a STAC item"),
        (
            {"type": "Feature", "id": "a", "assets": {"x": {"href": "red.tif"}}},
            SceneError,
            "a holds no band that geofm knows",
        ),
    ],
)
def test_what_is_no_item(folder, change, error, message):
    with pytest.raises(error, match=message):
        open_scene(saved(folder, change))


def test_a_band_that_is_not_there(folder):
    with pytest.raises(BandError, match="S2B_33UUU_20230507_0_L2A has red, nir, .* needed swir16"):
        open_scene(saved(folder, item()), bands=["swir16"])
    found = item()
    found["assets"]["nir"]["href"] = "gone.tif"
    with pytest.raises(SceneError, match=r"gone.tif does not exist"):
        open_scene(saved(folder, found))
