"""The accessor ``.geofm`` of xarray: ``import geofm.xarray; da.geofm.map(model)``.

Works on a DataArray or a Dataset, in memory or on Dask, whose bands are variables or a
dimension. What it does not say of itself (level, scale) can be told.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import odc.geo.xr  # noqa: F401  gives maps .odc, which says where they lie
import xarray as xr

from geofm.api import Model, open_scene
from geofm.bands import Level, Sensor
from geofm.errors import SceneError
from geofm.export.flags import flagged_classes
from geofm.export.vector import Codes, find_polygons, polygon_frame
from geofm.predict.cube import map_cube
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.infer import Precision
from geofm.scenes.arraygrid import array_grid
from geofm.scenes.arrayparts import is_chunked
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import NODATA, MapClass

if TYPE_CHECKING:
    import geopandas as gpd

Factors = float | Sequence[float]


class GeofmAccessor:
    """Maps of an array, and polygons of a map.

    Attributes:
        array: what the accessor stands on.
    """

    def __init__(self, array: xr.DataArray | xr.Dataset) -> None:
        self.array = array

    def scene(
        self,
        *,
        bands: Sequence[str | None] | None = None,
        sensor: str | Sensor | None = None,
        dates: Sequence[str | date] | None = None,
        scale: Factors | None = None,
        offset: Factors | None = None,
        level: Level | None = None,
        nodata: float | None = None,
        masked_qa: Sequence[str] | None = None,
    ) -> Scene:
        """The array as a scene; pixels are read in a few places, to check their units.

        Args: as `geofm.open_scene`.

        Raises:
            BandError, UnitsError, GridError, SceneError: as `geofm.open_scene`.
        """
        return open_scene(
            self.array,
            bands=bands,
            sensor=sensor,
            dates=dates,
            scale=scale,
            offset=offset,
            level=level,
            nodata=nodata,
            masked_qa=masked_qa,
        )

    def map(
        self,
        model: Model,
        *,
        probabilities: bool = False,
        accept: Mapping[str, str] | None = None,
        precision: Precision = "auto",
        device: str | None = None,
        progress: Progress | None = None,
        bands: Sequence[str | None] | None = None,
        sensor: str | Sensor | None = None,
        scale: Factors | None = None,
        offset: Factors | None = None,
        level: Level | None = None,
        nodata: float | None = None,
    ) -> xr.Dataset:
        """Map the array: the same bytes as `geofm.map_scene` writes of the same pixels.

        The map of an array on Dask is on Dask too. Nothing is mapped until it is used, and then
        only the chunks that are: ``.to_zarr(...)`` streams a cube larger than memory, a slice
        costs its chunks. ``.compute()`` first what is used more than once. A process maps one
        chunk at a time. Before that a few places are read, to check units and precision.

        Args:
            bands, sensor, scale, offset, level, nodata: what the array does not say, as
                `geofm.open_scene`.
            probabilities, accept, precision, device: as `geofm.Model.map`.
            progress: as `geofm.Model.map`; of a map on Dask `dask.diagnostics.ProgressBar` tells.

        Returns:
            As `geofm.Model.map`; a map on Dask has no ``seam_score``, which is known at the end.

        Raises:
            BandError, UnitsError, GridError, SceneError: the array does not fit the model.
        """
        scene = self.scene(
            bands=bands, sensor=sensor, scale=scale, offset=offset, level=level, nodata=nodata
        )
        if is_chunked(scene):
            from geofm.predict.lazy import map_lazily

            options = MapOptions(
                probabilities=probabilities,
                accept=accept or {},
                precision=precision,
                device=device,
            )
            layers = map_lazily(model.trained, scene, options=options)
            return map_cube(model.trained, scene, layers, measured={})
        return model.map(
            scene,
            probabilities=probabilities,
            accept=accept,
            precision=precision,
            device=device,
            progress=progress,
        )

    def polygons(self, *, min_area: float = 0.0, simplify: float = 0.0) -> "gpd.GeoDataFrame":
        """The areas of each class of a map, as `geofm.map_scene` writes with ``polygons``.

        Args:
            min_area: leave out polygons below, hectares.
            simplify: as `geofm.map_scene`, metres.

        Returns:
            ``class``, ``class_name``, ``hectares`` on the ellipsoid, mean ``confidence``
            (percent) and the outline, in the map's CRS.

        Raises:
            SceneError: the dataset is no map.
            GridError: it has no CRS.
        """
        import pandas as pd

        classes, confidence, kinds = self._map()

        def read(window: Window) -> tuple[Codes, Codes]:
            return classes[window.slices], confidence[window.slices]

        assert isinstance(self.array, xr.Dataset)
        geobox = array_grid(self.array, self.array["classes"])
        batches = find_polygons(read, geobox, min_area=min_area, simplify=simplify)
        frames = [polygon_frame(batch, geobox, kinds) for batch in batches]
        return pd.concat(frames, ignore_index=True)

    def _map(self) -> tuple[Codes, Codes, list[MapClass]]:
        classes = None
        if isinstance(self.array, xr.Dataset) and {"classes", "confidence"} <= set(self.array):
            classes = flagged_classes(self.array["classes"].attrs)
        if classes is None:
            raise SceneError(
                "this array is no map; needed what Model.map gives, with classes and confidence; "
                "map it first (da.geofm.map(model))"
            )
        assert isinstance(self.array, xr.Dataset)
        # Both at once: Dask maps once for both.
        found = self.array[["classes", "confidence"]].compute()
        codes = np.asarray(found["classes"].values, np.uint8)
        percent = np.nan_to_num(found["confidence"].values, nan=NODATA)
        return codes, percent.astype(np.uint8), list(classes.values())


# xarray's decorators carry no types.
xr.register_dataarray_accessor("geofm")(GeofmAccessor)  # type: ignore[no-untyped-call]
xr.register_dataset_accessor("geofm")(GeofmAccessor)  # type: ignore[no-untyped-call]
