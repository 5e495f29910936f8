"""xarray objects as scenes, in memory or on Dask: bands are variables, or a dimension."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, get_args
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.bands import Level, Sensor, check_bands, parse_band
from geofm.errors import BandError, SceneError
from geofm.scenes.arraygrid import array_grid, find_dim
from geofm.scenes.naming import sensor_of, to_date
from geofm.scenes.products import is_reflectance
from geofm.scenes.quality import FILL, FMASK, QA_PIXEL, SCL, Coding, Flags
from geofm.scenes.rasters import mark_measured
from geofm.scenes.reader import StoredPixels
from geofm.scenes.window import Window

if TYPE_CHECKING:
    import xarray as xr

# A block of an array that is not chunked: any window costs its own pixels.
_BLOCK = (256, 256)
_QUALITY = {"scl": SCL, "fmask": FMASK, "qa_pixel": QA_PIXEL}


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """An xarray object taken apart.

    Attributes:
        id: its name, or ``array``.
        bands: common names.
        data: one variable a band, named ``0``, ``1``, ...; dims time, y, x.
        dates: of the time dimension, ascending where known.
        geobox: where x and y lie.
        level: as its attributes say.
        quality: variable (time, y, x) and coding, or None.
    """

    id: str
    bands: tuple[str, ...]
    data: "xr.Dataset"
    dates: tuple[date | None, ...]
    geobox: GeoBox
    level: Level
    quality: "tuple[xr.DataArray, Coding] | None"


def read_cube(
    source: "xr.DataArray | xr.Dataset",
    *,
    bands: Sequence[str | None] | None = None,
    sensor: Sensor | None = None,
    dates: Sequence[str | date | None] | None = None,
) -> Cube:
    """Bands, dates, grid and level of an xarray object; no pixels.

    Args:
        bands: those wanted, or names of all in their order; ``"-"`` leaves one out.
        sensor: whose codes (``B05``) the names may be.
        dates: in place of its own.

    Raises:
        BandError: bands are unknown, or not there.
        SceneError: it has no rows and columns, or dates do not fit.
        GridError: its coordinates are not evenly spaced.
    """
    whole = _dataset(source)
    variables = _variables(whole)
    if not variables:
        raise SceneError(
            "the array has no variable over rows and columns; needed dimensions such as y and x, "
            "or lat and lon; rename them (DataArray.rename)"
        )
    chosen = _chosen(variables, bands, sensor)
    first = next(iter(chosen.values()))
    data = whole.assign().drop_vars(list(whole.data_vars)).reset_coords(drop=True)
    for at, variable in enumerate(chosen.values()):
        data[str(at)] = _laid_out(variable)
    days, order = _days(first, data.sizes["time"], dates)
    found = next(
        ((v, _QUALITY[name.lower()]) for name, v in variables.items() if name.lower() in _QUALITY),
        None,
    )
    level = str(first.attrs.get("level", whole.attrs.get("level", "unknown")))
    return Cube(
        id=str(getattr(source, "name", None) or whole.attrs.get("name") or "array"),
        bands=check_bands(chosen, where="the array"),
        data=data.isel(time=order),
        dates=days,
        geobox=array_grid(whole, first),
        level=cast(Level, level) if level in get_args(Level) else "unknown",
        quality=found and (_laid_out(found[0]).isel(time=order), found[1]),
    )


def _dataset(source: "xr.DataArray | xr.Dataset") -> "xr.Dataset":
    """A variable for each band, whatever held them."""
    import xarray as xr

    if isinstance(source, xr.Dataset):
        cubes = [name for name, v in source.data_vars.items() if find_dim(v, "band")]
        flat = [v for v in source.data_vars.values() if find_dim(v, "y") and v.ndim > 1]
        # openEO and others write one variable that holds all bands.
        return _unstacked(source[cubes[0]]) if len(cubes) == len(flat) == 1 else source
    return _unstacked(source)


def _unstacked(array: "xr.DataArray") -> "xr.Dataset":
    dim = find_dim(array, "band")
    if dim is None:
        return array.to_dataset(name="0" if array.name is None else str(array.name))
    texts = [str(text) for text in array[dim].values] if dim in array.coords else []
    long_names = array.attrs.get("long_name")
    if isinstance(long_names, tuple | list) and len(long_names) == array.sizes[dim]:
        texts = [str(text) for text in long_names]
    texts = texts or [str(at) for at in range(array.sizes[dim])]
    parts = {text: array.isel({dim: at}, drop=True) for at, text in enumerate(texts)}
    if len(parts) < len(texts):
        raise BandError(f"the array names its bands {', '.join(texts)}; name each band once")
    first = next(iter(parts.values()))
    whole = first.to_dataset(name=texts[0]).assign(parts)
    whole.attrs = dict(array.attrs)
    return whole


def _variables(whole: "xr.Dataset") -> "dict[str, xr.DataArray]":
    """Those over rows and columns."""
    return {
        str(name): variable
        for name, variable in whole.data_vars.items()
        if find_dim(variable, "y") and find_dim(variable, "x")
    }


def _chosen(
    variables: "dict[str, xr.DataArray]", bands: Sequence[str | None] | None, sensor: Sensor | None
) -> "dict[str, xr.DataArray]":
    """Variables by common name, in the order wanted.

    Raises:
        BandError: no band is known, or one is missing.
    """
    texts = {name: _band_text(name) for name in variables}
    sensor = sensor or sensor_of([text for text in texts.values() if text[:1] in "Bb"])
    known = {
        parsed: variables[name]
        for name, text in texts.items()
        if (parsed := parse_band(name, sensor) or parse_band(text, sensor))
    }
    if bands is None:
        found = {name: v for name, v in known.items() if is_reflectance(name)}
        if not found:
            raise BandError(
                f"the array names its bands {', '.join(variables)}; needed common names such as "
                "blue, green, red, nir; give bands= in their order, or sensor= whose codes they are"
            )
        return found
    wanted = [name and (parse_band(name, sensor) or name) for name in bands]
    if all(name in known for name in wanted):
        return {str(name): known[str(name)] for name in wanted}
    if len(bands) != len(variables):
        raise BandError(
            f"the array has {', '.join(variables)}; asked for {', '.join(map(str, bands))}; give "
            f"some of them, or {len(variables)} names in their order"
        )
    pairs = zip(wanted, variables.values(), strict=True)
    return {name: variable for name, variable in pairs if name and name != "-"}


def _band_text(name: str) -> str:
    """The part that says which band: ``S2-L2A-B02`` is B02."""
    return name.replace("_", "-").rpartition("-")[2]


def _laid_out(variable: "xr.DataArray") -> "xr.DataArray":
    """Dimensions time, y, x, without coordinates: positions are all that is asked for.

    Raises:
        SceneError: there is another dimension.
    """
    names = {find_dim(variable, role): role for role in ("time", "y", "x")}
    odd = [str(dim) for dim in variable.dims if dim not in names]
    if odd:
        raise SceneError(
            f"the array has a dimension {', '.join(odd)}; needed time, band, y and x at most; "
            f"select one place along it (DataArray.isel({odd[0]}=0))"
        )
    plain = variable.reset_coords(drop=True).drop_vars(
        [name for name in variable.coords if name in variable.dims]
    )
    plain = plain.rename({dim: role for dim, role in names.items() if dim and dim != role})
    if "time" not in plain.dims:
        plain = plain.expand_dims("time")
    return plain.transpose("time", "y", "x")


def _days(
    variable: "xr.DataArray", count: int, given: Sequence[str | date | None] | None
) -> tuple[tuple[date | None, ...], list[int]]:
    """Dates, and the order that makes them ascend.

    Raises:
        SceneError: the caller's are too few or many.
    """
    dim = find_dim(variable, "time") or "time"
    times: list[Any] = [None] * count
    if dim in variable.coords and np.issubdtype(variable[dim].dtype, np.datetime64):
        times = list(np.atleast_1d(variable[dim].values))
    days: list[date | None] = [None if time is None else _day(time) for time in times]
    if given is not None:
        if len(given) != count:
            raise SceneError(
                f"the array has {count} dates, and {len(given)} were given; give one for each"
            )
        days = times = [to_date(day) for day in given]
    order = list(range(count))
    if all(day is not None for day in days):
        order.sort(key=lambda at: (times[at], at))
    return tuple(days[at] for at in order), order


def _day(time: np.datetime64) -> date | None:
    return None if np.isnat(time) else cast(date, time.astype("datetime64[D]").item())


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A cube's stored numbers.

    Attributes:
        data: as in `Cube`.
        nodata: the fill of each band, or None.
    """

    data: "xr.Dataset"
    nodata: tuple[float | None, ...]

    @cached_property
    def identity(self) -> str:
        """New each time an array is opened: its content cannot be told in short."""
        return uuid4().hex

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of all bands; float32 where integers and floats meet."""
        kinds = {_dtype(variable) for variable in self.data.data_vars.values()}
        whole = all(kind.kind in "iub" for kind in kinds)
        one = kinds.pop() if len(kinds) == 1 else None
        return one or (np.result_type(*kinds) if whole else np.dtype(np.float32))

    @cached_property
    def block_shape(self) -> tuple[int, int]:
        """Of Dask's chunks, or of the file's."""
        first = self.data["0"]
        chunks = first.encoding.get("preferred_chunks") or {}
        sizes = [_chunk(first, dim, chunks) for dim in ("y", "x")]
        return sizes[0], sizes[1]

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        """Read a window; what Dask computes, it computes once for all bands."""
        part = _window(self.data[[str(at) for at in bands]], window, dates)
        dn = np.empty((len(dates), len(bands), window.height, window.width), self.dtype)
        valid = np.ones((len(dates), window.height, window.width), np.bool_)
        here = np.empty_like(valid)
        for channel, at in enumerate(bands):
            numbers = _unsigned(part[str(at)])
            mark_measured(numbers, self.nodata[at], here)
            valid &= here
            dn[:, channel] = numbers
        return StoredPixels(dn=dn, valid=valid, masked=np.zeros_like(valid))


@dataclass(frozen=True, slots=True, eq=False)
class ArrayQuality:
    """A quality variable (time, y, x) of the same array."""

    data: "xr.Dataset"
    coding: Coding

    @property
    def classes(self) -> tuple[str, ...]:
        return self.coding.classes

    @property
    def name(self) -> str:
        return self.coding.name

    @property
    def identity(self) -> str:
        """Its array is told by the source, which is of the same cube."""
        return repr(self.coding)

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[str]) -> Flags:
        numbers = _unsigned(_window(self.data, window, dates)["quality"])
        flags = self.coding.flags(numbers, bands)
        if numbers.dtype.kind == "f":  # NaN: the fill, decoded
            flags[np.isnan(numbers)] = FILL
        return flags

    def select(self, dates: Sequence[int]) -> "ArrayQuality":
        return replace(self, data=self.data.isel(time=list(dates)))


def _window(data: "xr.Dataset", window: Window, dates: Sequence[int]) -> "xr.Dataset":
    rows, cols = window.slices
    return data.isel(time=list(dates), y=rows, x=cols).compute()


def _unsigned(variable: "xr.DataArray") -> npt.NDArray[Any]:
    """Values, in their true type: NetCDF-3 had no unsigned numbers, and says so apart."""
    numbers: npt.NDArray[Any] = np.ascontiguousarray(variable.values)
    return numbers.view(_dtype(variable))


def _dtype(variable: "xr.DataArray") -> np.dtype[Any]:
    dtype = np.dtype(variable.dtype)
    if dtype.kind == "i" and str(variable.attrs.get("_Unsigned", "")).lower() == "true":
        return np.dtype(f"u{dtype.itemsize}")
    return dtype


def _chunk(variable: "xr.DataArray", dim: str, preferred: Any) -> int:
    size = int(variable.sizes[dim])
    if variable.chunks is not None:
        return int(variable.chunksizes[dim][0])
    return min(int(preferred.get(dim, _BLOCK[0])), size)


def stated_units(variable: "xr.DataArray") -> tuple[float | None, float | None]:
    """Scale and offset that an array's attributes state; 1 and 0 where xarray applied them.

    A scale of 1 without an offset on stored numbers is what writers put unasked.
    """
    if variable.attrs.get("units") == "reflectance" or "scale_factor" in variable.encoding:
        return 1.0, 0.0
    scale, offset = (variable.attrs.get(name) for name in ("scale_factor", "add_offset"))
    if (scale, offset or 0) in {(None, 0), (1, 0)}:
        return None, None
    return None if scale is None else float(scale), float(offset or 0)


def stated_nodata(variable: "xr.DataArray") -> float | None:
    """The fill that an array's attributes declare, or None."""
    for name in ("_FillValue", "missing_value", "nodata", "NoData"):
        value = variable.attrs.get(name)
        if value is not None and np.size(value) == 1:
            return float(np.ravel(value)[0])
    return None


def cube_quality(cube: Cube) -> ArrayQuality | None:
    """The cube's own quality variable, readable."""
    if cube.quality is None:
        return None
    variable, coding = cube.quality
    return ArrayQuality(variable.to_dataset(name="quality"), coding)
