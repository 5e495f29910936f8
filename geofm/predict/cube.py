"""A map as an `xarray.Dataset`, on its scene's grid, with the names and colours of its classes."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import xarray as xr

from geofm.export.flags import class_flags
from geofm.model.folder import TrainedModel
from geofm.predict.recipe import Recipe
from geofm.scenes.reader import Scene
from geofm.tasks import NODATA


class MapLayers(Protocol):
    """What `MapArrays` and a lazy map share; of numpy or Dask."""

    @property
    def classes(self) -> Any: ...

    @property
    def confidence(self) -> Any: ...

    @property
    def probabilities(self) -> Any: ...

    @property
    def recipe(self) -> Recipe: ...


def map_cube(
    model: TrainedModel, scene: Scene, layers: MapLayers, *, measured: Mapping[str, float]
) -> xr.Dataset:
    """The map as `geofm.Model.map` returns it.

    Args:
        layers: (H, W) and (K, H, W) uint8, as a map stores them.
        measured: attributes that are known once all is mapped, such as the seam score.
    """
    dims = scene.geobox.dimensions
    found: dict[str, Any] = {
        "classes": (dims, layers.classes, class_flags(model.task, model.classes)),
        "confidence": (dims, _amount(layers.confidence, 1), {"units": "percent"}),
    }
    # The scene's own coordinates: x, y and the CRS, which .odc and .rio understand.
    coords: dict[Any, Any] = dict(scene.to_xarray().isel(time=0, band=0, drop=True).coords)
    if layers.probabilities is not None:
        found["probabilities"] = (("class", *dims), _amount(layers.probabilities, 0.004), {})
        coords["class"] = [kind.name for kind in model.classes]
    attrs = {
        "model": model.name,
        "scene": scene.id,
        "recipe_sha256": layers.recipe.digest,
        **measured,
        "substitutions": ", ".join(layers.recipe.substitutions),
    }
    dataset = xr.Dataset(found, coords, attrs)
    for variable in dataset.data_vars.values():
        variable.encoding["grid_mapping"] = "spatial_ref"
    return dataset


def _amount(stored: Any, step: float) -> Any:
    """Stored bytes as float32 amounts, NaN where there is no data: a mean of them is then true."""
    amounts = stored.astype(np.float32) * np.float32(step)
    return np.where(stored == NODATA, np.float32(np.nan), amounts)
