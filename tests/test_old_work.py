"""Promise 10: model folders and maps of every release open for ever after."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

import geofm
from geofm.info.describe import describe
from geofm.predict.again import receipt_of
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory

RELEASES = sorted(p for p in (Path(__file__).parent / "releases").iterdir() if p.is_dir())


def test_there_is_one_of_this_series():
    assert RELEASES, "tests/releases/make.py keeps a model and a map of each release"


@pytest.mark.parametrize("release", RELEASES, ids=lambda folder: folder.name)
def test_its_model_still_draws_its_map(release):
    model = geofm.load_model(release / "flood.geofm")
    scene = geofm.open_scene(release / "scene.tif")
    # As its receipt says: the overlap of a map is part of its recipe.
    recipe = receipt_of(release / "flood.tif")["recipe"]
    options = MapOptions(probabilities=True, overlap=recipe["overlap"])
    found = map_in_memory(model.trained, scene, options=options)
    with rasterio.open(release / "flood.tif") as file:
        classes = file.read(1)
    with rasterio.open(release / "flood_probabilities.tif") as file:
        stored = file.read().astype(float)
    assert {0, 1, 255} <= set(np.unique(classes))
    np.testing.assert_array_equal(classes == 255, found.classes == 255)
    # Another machine and other versions are another recipe: a step of 0.004 may turn.
    mapped = classes != 255
    difference = np.abs(stored - found.probabilities)[:, mapped] * 0.004
    assert difference.max() <= 0.004 + 1e-6
    clear = mapped & (np.abs(stored[0] - stored[1]) > 2)
    np.testing.assert_array_equal(classes[clear], found.classes[clear])


@pytest.mark.parametrize("release", RELEASES, ids=lambda folder: folder.name)
def test_its_encoder_can_still_be_begun_with(release):
    encoder = geofm.load_encoder(str(release / "encoder.geofm"))
    assert encoder.report.share == 1.0


@pytest.mark.parametrize("release", RELEASES, ids=lambda folder: folder.name)
def test_its_map_still_tells_how_it_was_made(release):
    page = str(describe(release / "flood.tif"))
    for word in ("water", "recipe", "seam score", "EPSG:32633"):
        assert word in page
