"""Clouds in a map: set aside by a quality layer, and told from what was not measured."""

from dataclasses import replace

import numpy as np
import rasterio

from geofm.model.folder import load_model_folder
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory
from geofm.scenes.open import open_scene
from geofm.tasks import MASKED, NODATA


def test_a_map_tells_clouds_from_no_data(make_scene, tmp_path, flood_folder):
    """254 where quality alone keeps a pixel from the map, 255 where nothing was measured."""
    path = make_scene()
    with rasterio.open(path) as file:
        profile, measured = file.profile, file.read_masks(1) != 0
    codes = np.zeros(measured.shape, np.uint8)
    codes[:9, 5:17], codes[55:, 80:] = 1, 1
    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", **(profile | {"count": 1, "dtype": "uint8", "nodata": 0})
    ) as file:
        file.write(codes, 1)
    model = load_model_folder(flood_folder)
    model = replace(model, contract=replace(model.contract, masked_qa=("cloud", "cirrus")))
    scene = open_scene(path, quality=mask)
    flood = map_in_memory(model, scene, options=MapOptions(device="cpu", precision="fp32"))
    np.testing.assert_array_equal(flood.classes == MASKED, measured & (codes == 1))
    np.testing.assert_array_equal(flood.classes == NODATA, ~measured)
    assert flood.recipe.masked_qa == ("cloud",)
    assert flood.recipe.unmasked_qa == ("cirrus",)
