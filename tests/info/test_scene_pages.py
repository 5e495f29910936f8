"""Products, catalogue items and arrays have pages too."""

import json
from pathlib import Path

import pytest

from geofm.cli.app import main
from geofm.errors import SceneError
from geofm.info.describe import describe


def test_a_landsat_product(shared_data: Path, capsys) -> None:
    path = shared_data / "products/landsat_c2_l2/LC08_L2SP_008059_20191201_20200825_02_T1_MTL.txt"
    page = describe(path)
    assert "surface reflectance = stored number x 2.75e-05 -0.2" in str(page)
    assert "Landsat QA_PIXEL and Landsat QA_RADSAT: cloud, adjacent, shadow" in str(page)
    assert page.missing == ""
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bands"] == ["blue", "green", "red", "nir08", "swir16", "swir22"]
    assert facts["dates"] == ["2019-12-01"]
    assert facts["crs"] == "EPSG:32618"
    assert "cloud" in facts["quality_classes"]


def test_a_series_in_netcdf(shared_data: Path) -> None:
    path = next((shared_data / "crops_worldcereal/00002806639B424A").glob("S2_L2A_20m*.nc"))
    page = describe(path)
    assert "118 from 2017-08-04 to 2018-11-27" in str(page)
    assert page.missing.startswith("it does not state its level")
    assert describe(path, level="surface").missing == ""


def test_an_item(make_scene, tmp_path: Path) -> None:
    make_scene("red.tif", bands=("red",))
    item = {
        "type": "Feature", "id": "item", "collection": "sentinel-2-l2a",
        "properties": {"datetime": "2020-01-01T00:00:00Z", "s2:processing_baseline": "02.14"},
        "assets": {"B04": {"href": "red.tif"}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    facts = describe(tmp_path / "item.json").facts
    assert (facts["id"], facts["bands"], facts["level"]) == ("item", ["red"], "surface")
    assert facts["quality"] is None


def test_a_folder_of_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="and no product geofm knows; name a model folder, a prod"):
        describe(tmp_path)
