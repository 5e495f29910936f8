"""A scene as a lazily read xarray.DataArray; needs xarray only when called."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS
from xarray.backends import BackendArray
from xarray.core import indexing

from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

_CRS_COORD = "spatial_ref"


def to_xarray(scene: Scene) -> xr.DataArray:
    """Reflectance (time, band, y, x), NaN where not valid, read when used."""
    coords = _grid_coords(scene.geobox)
    coords["band"] = list(scene.bands)
    if all(day is not None for day in scene.dates):
        coords["time"] = np.array(scene.dates, dtype="datetime64[ns]")
    dims = ("time", "band", *scene.geobox.dimensions)
    data = indexing.LazilyIndexedArray(_SceneArray(scene))
    attrs = {"level": scene.level, "units": "reflectance", "scene": scene.id}
    variable = xr.Variable(dims, data, attrs, fastpath=True)
    array = xr.DataArray(variable, coords=coords, name="reflectance")
    array.encoding["grid_mapping"] = _CRS_COORD
    if find_spec("dask") is None:
        return array
    rows, cols = scene.block_shape
    return array.chunk(dict(zip(dims, (1, len(scene.bands), rows, cols), strict=True)))


def _grid_coords(geobox: GeoBox) -> dict[str, Any]:
    """Pixel centres where the axes run along the grid, and the CRS with the transform.

    As CF, GDAL, rioxarray and odc-geo's ``.odc`` read them. Written here because
    `odc.geo.xr` imports dask, which is an extra.
    """
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    attrs: dict[str, Any] = {
        "GeoTransform": " ".join(repr(number) for number in (c, a, b, f, d, e))
    }
    if geobox.crs is not None:
        wkt = geobox.crs.to_wkt()
        attrs |= {**CRS.from_wkt(wkt).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
    coords: dict[str, Any] = {_CRS_COORD: xr.Variable((), 0, attrs)}
    if b == d == 0:
        height, width = geobox.shape
        rows, cols = geobox.dimensions
        coords[rows] = f + e * (np.arange(height) + 0.5)
        coords[cols] = c + a * (np.arange(width) + 0.5)
    return coords


class _SceneArray(BackendArray):
    """The scene behind xarray's indexing: it reads the window that is asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.shape = (len(scene.dates), len(scene.bands), *scene.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        """The outer box of ``key``, then the key within it."""
        nothing = np.broadcast_to(np.float32(np.nan), self.shape)[key]
        if nothing.size == 0:
            return nothing
        boxes, inner = zip(
            *(_outer(part, size) for part, size in zip(key, self.shape, strict=True)), strict=True
        )
        dates, bands, rows, cols = boxes
        chosen = self.scene.select(
            dates=range(*dates), bands=[self.scene.bands[at] for at in range(*bands)]
        )
        pixels = chosen.read(Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0]))
        values = np.where(pixels.valid[:, None], pixels.values, np.float32(np.nan))
        return values[inner]


def _outer(part: int | slice, size: int) -> tuple[tuple[int, int], int | slice]:
    """Start and stop that hold every element of ``part``, and ``part`` counted from there."""
    if isinstance(part, slice):
        steps = range(size)[part]
        low, high = min(steps[0], steps[-1]), max(steps[0], steps[-1]) + 1
        stop = steps.stop - low if steps.stop >= low else None
        return (low, high), slice(steps.start - low, stop, steps.step)
    at = int(part) % size
    return (at, at + 1), 0
