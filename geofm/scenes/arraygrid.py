"""Where an xarray object lies: its dimensions, coordinates and CRS, as people write them."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from geofm.errors import GridError

if TYPE_CHECKING:
    import xarray as xr

Role = Literal["time", "band", "y", "x"]

_NAMES: dict[Role, tuple[str, ...]] = {
    "time": ("time", "t", "timestamp", "date"),
    "band": ("band", "bands", "channel", "variable"),
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "longitude", "easting"),
}
# Pixels by which a coordinate may miss its place: float32 degrees are that coarse.
_UNEVEN = 0.05


def find_dim(variable: "xr.DataArray", role: Role | str) -> str | None:
    """The dimension that plays this role, or None."""
    names = _NAMES[role]  # type: ignore[index]
    return next((str(dim) for dim in variable.dims if str(dim).lower() in names), None)


def array_grid(whole: "xr.Dataset", variable: "xr.DataArray") -> GeoBox:
    """The grid of a variable: from its coordinates, else from a stored transform.

    A transform grows stale when an array is cut, so coordinates go first.

    Raises:
        GridError: coordinates are not evenly spaced.
    """
    rows, cols = find_dim(variable, "y"), find_dim(variable, "x")
    assert rows is not None and cols is not None, variable.dims  # noqa: PT018
    shape = (variable.sizes[rows], variable.sizes[cols])
    stored = _stored_transform(whole, variable)
    if rows in variable.coords and cols in variable.coords:
        # A single row or column has no step of its own.
        top, down = _axis(variable[rows].values, rows, stored.e if stored else None)
        left, across = _axis(variable[cols].values, cols, stored.a if stored else None)
        transform = Affine(across, 0, left, 0, down, top)
    else:
        transform = stored or Affine.identity()
    crs = _crs(whole, variable)
    if crs is None and cols.lower() in {"lon", "longitude"}:
        crs = CRS.from_epsg(4326)
    return GeoBox(shape, transform, _named(crs) if crs else None)


def _named(crs: CRS) -> str:
    """As files name it where they can: ``EPSG:32631``."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()


def _axis(centers: npt.NDArray[Any], name: str, stored_step: float | None) -> tuple[float, float]:
    """Outer edge and step of evenly spaced pixel centres."""
    centers = centers.astype(np.float64)
    if len(centers) == 1:
        if not stored_step:
            raise GridError(
                f"the array has one place along {name}, which tells no pixel size; needed two or "
                "more, or a GeoTransform; keep its neighbours when cutting it out"
            )
        return float(centers[0] - stored_step / 2), stored_step
    step = float(centers[-1] - centers[0]) / (len(centers) - 1)
    away = np.abs(centers - (centers[0] + step * np.arange(len(centers))))
    if not step or not away.max() <= _UNEVEN * abs(step):
        raise GridError(
            f"the array's {name} is not evenly spaced; needed a regular grid; resample it first "
            "(DataArray.interp, or odc.reproject)"
        )
    return float(centers[0] - step / 2), step


def _mappings(whole: "xr.Dataset", variable: "xr.DataArray") -> Iterator[Mapping[str, Any]]:
    """Attributes that may tell the CRS, the likeliest first."""
    named = variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping")
    for name in (named, "spatial_ref", "crs"):
        if name in whole.variables:
            yield whole[name].attrs
    yield variable.attrs
    yield whole.attrs
    for name in ("proj:code", "proj:epsg", "epsg"):
        if name in whole.coords and whole[name].ndim == 0:
            yield {name: whole[name].item()}


def _stored_transform(whole: "xr.Dataset", variable: "xr.DataArray") -> Affine | None:
    for attrs in _mappings(whole, variable):
        if "GeoTransform" in attrs:
            c, a, b, f, d, e = (float(number) for number in str(attrs["GeoTransform"]).split())
            return Affine(a, b, c, d, e, f)
    return None


def _crs(whole: "xr.Dataset", variable: "xr.DataArray") -> CRS | None:
    for attrs in _mappings(whole, variable):
        for key in ("crs_wkt", "spatial_ref", "proj:code", "proj:epsg", "epsg", "crs"):
            if key in attrs and (crs := _parsed(attrs[key])):
                return crs
        if "grid_mapping_name" in attrs:
            return CRS.from_cf(dict(attrs))
    return None


def _parsed(value: Any) -> CRS | None:
    """A CRS as attributes carry it: WKT, a number, ``EPSG:32631`` or ``+init=epsg:32631``."""
    text = re.sub(r"^\+init=", "", str(value).strip())
    try:
        return CRS.from_epsg(int(float(text)))
    except (ValueError, CRSError):
        pass
    try:
        return CRS.from_user_input(text)
    except CRSError:
        return None
