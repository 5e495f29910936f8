"""Anything geofm reads or writes -> its page. What the mapper would refuse is shown."""

from pathlib import Path
from typing import Any

from geofm.errors import SceneError
from geofm.info.maps import is_map, map_page
from geofm.info.models import model_page
from geofm.info.rasters import scene_page
from geofm.info.scenes import is_more_than_a_raster, product_page
from geofm.model.folder import DESCRIPTION_FILE
from geofm.page import Page
from geofm.scenes.facts import read_facts
from geofm.shipped import encoder_folder


def describe(path: str | Path, **reading: Any) -> Page:
    """Look at a scene, a map, any raster, a product, a STAC item, an array or a model folder.

    Args:
        reading: as `open_scene`, for what a file does not say: ``bands``, ``scale``, ...

    Raises:
        GeofmError: there is nothing readable at ``path``.
        ModelError: the model folder is damaged.
    """
    folder = encoder_folder(path) or Path(path)
    if folder.is_dir() and (folder / DESCRIPTION_FILE).is_file():
        return model_page(folder)
    if is_more_than_a_raster(str(path)):
        return product_page(path, reading)
    if folder.is_dir():
        raise SceneError(
            f"{path} is a folder without a {DESCRIPTION_FILE}, and no product geofm knows; name a "
            "model folder, a product, or a raster in it"
        )
    facts = read_facts(path)
    return map_page(folder, facts) if is_map(facts) else scene_page(path, facts, reading)
