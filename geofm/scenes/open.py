"""Open files as a scene: headers, a small sample for the units, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.bands import Level, Sensor
from geofm.errors import GridError, SceneError, UnitsError
from geofm.scenes.header import RasterFile, read_header
from geofm.scenes.naming import find_sensor
from geofm.scenes.rasters import RasterSource
from geofm.scenes.reader import Scene
from geofm.scenes.stack import Stack, stack_files
from geofm.scenes.units import check_units
from geofm.scenes.warp import same_grid, source_window

LEVEL_TAG = "GEOFM_LEVEL"
"""Dataset tag: ``toa`` or ``surface``."""

Factors = float | Sequence[float] | npt.NDArray[Any]


def open_scene(
    source: str | Path | Sequence[str | Path],
    *,
    bands: Sequence[str | None] | None = None,
    sensor: str | Sensor | None = None,
    dates: str | date | Sequence[str | date | None] | None = None,
    scale: Factors | None = None,
    offset: Factors | None = None,
    level: Level | None = None,
    nodata: float | None = None,
    geobox: GeoBox | None = None,
) -> Scene:
    """Open a raster, or a list of rasters as bands, as dates or as both.

    Files on other grids are warped to one: bilinear, with their validity. What
    the caller states replaces what the files say.

    Args:
        source: a GeoTIFF, COG, VRT or another raster that GDAL reads; a path,
            an http(s), s3 or gs address, or a list of them.
        bands: common names, in the order of a file's bands (or one for each
            one-band file); ``"-"`` or None leaves a band out.
        sensor: ``"sentinel-2"``, ``"landsat-8-9"`` or ``"landsat-4-7"``, where
            bands are named by its codes.
        dates: one a file, or one a date: dates, or texts such as ``2020-01-31``.
        scale, offset: reflectance = stored number * scale + offset; one for
            all, or one a band.
        level: ``"toa"`` or ``"surface"`` reflectance.
        nodata: the fill, in place of a declared one.
        geobox: the grid of the scene; that of the first file when None.

    Raises:
        SceneError: a file is missing or not a whole raster, or dates do not fit.
        BandError: bands are unknown, or not those of the files.
        UnitsError: there is no scale, or the values contradict it; levels differ.
        GridError: files do not meet on the ground, or one has no CRS.
    """
    paths = [source] if isinstance(source, str | Path) else list(source)
    if not paths:
        raise SceneError("an empty list of files was given; needed one or more rasters")
    files = [_with_nodata(read_header(path), nodata) for path in paths]
    stack = stack_files(
        files,
        bands=bands,
        sensor=find_sensor(sensor),
        dates=[dates] if isinstance(dates, str | date) else dates,
    )
    grid = _common_grid(files, geobox)
    scales, offsets = _units(files, stack, scale, offset)
    scene = Scene(
        id=Path(files[0].name).stem,
        bands=stack.bands,
        dates=stack.dates,
        geobox=grid,
        level=_level(files, level),
        scale=scales,
        offset=offsets,
        source=RasterSource(files=tuple(files), slots=stack.slots, geobox=grid),
        paths=tuple(file.name for file in files),
    )
    check_units(scene)
    return scene


def _with_nodata(file: RasterFile, nodata: float | None) -> RasterFile:
    if nodata is None:
        return file
    return replace(file, bands=tuple(replace(band, nodata=nodata) for band in file.bands))


def _common_grid(files: Sequence[RasterFile], geobox: GeoBox | None) -> GeoBox:
    """The caller's grid or the first file's; every file must have a place on it."""
    grid = files[0].geobox if geobox is None else geobox
    for file in files:
        if same_grid(file.geobox, grid):
            continue
        if file.geobox.crs is None or grid.crs is None:
            raise GridError(
                f"{file.name} is {file.geobox.height} x {file.geobox.width} px on a grid of its "
                "own, and a CRS is missing; needed one to bring it onto the scene's; give the "
                "file its CRS (gdal_edit.py -a_srs)"
            )
        if source_window(file.geobox, grid) is None:
            raise GridError(
                f"{file.name} does not overlap the scene's grid; needed files of one place; "
                "leave it out, or give geobox="
            )
    return grid


def _level(files: Sequence[RasterFile], given: Level | None) -> Level:
    """The caller's, or the one that all files state."""
    known = get_args(Level)
    if given is not None:
        if given not in known:
            raise UnitsError(f"unknown level {given!r}; known: {', '.join(known)}")
        return given
    stated = {file.tags.get(LEVEL_TAG, "unknown") for file in files}
    if len(stated) > 1:
        raise UnitsError(
            f"the files mix levels ({', '.join(sorted(stated))}); needed one for all; open files "
            "of one level, or give level= where a file's tag is wrong or absent"
        )
    found = stated.pop()
    return cast(Level, found) if found in known else "unknown"


def _units(
    files: Sequence[RasterFile], stack: Stack, scale: Factors | None, offset: Factors | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scale and offset (T, C) float32: the caller's, or the tags'.

    Raises:
        UnitsError: a band has no scale, or a scale was given against a tagged offset.
    """
    shape = (len(stack.dates), len(stack.bands))
    headers = [[(files[s.file], files[s.file].bands[s.band]) for s in row] for row in stack.slots]
    if scale is None:
        for row in headers:
            for name, (file, band) in zip(stack.bands, row, strict=True):
                if band.scale is None:
                    raise UnitsError(_no_scale(file, name))
        scales = np.array([[band.scale for _, band in row] for row in headers], dtype=np.float32)
    else:
        scales = _given(scale, shape, "scale")
    if offset is None:
        tagged = [[band.offset or 0.0 for _, band in row] for row in headers]
        offsets = np.array(tagged, dtype=np.float32)
        if scale is not None and offsets.any():
            raise UnitsError(
                f"{files[0].name} states an offset ({offsets[offsets != 0][0]:g}), and scale= was "
                "given without offset=; needed both to replace the file's; give offset= too"
            )
    else:
        offsets = _given(offset, shape, "offset")
    return scales, offsets


def _given(factors: Factors, shape: tuple[int, int], what: str) -> npt.NDArray[np.float32]:
    array = np.asarray(factors, dtype=np.float32)
    if array.shape not in {(), shape[1:], shape} or not np.isfinite(array).all():
        raise UnitsError(
            f"{what}= has {array.size} numbers; needed one for all, or one finite number for each "
            f"of {shape[1]} bands"
        )
    if what == "scale" and (array == 0).any():
        raise UnitsError("scale= is 0, which makes every value the same; give the real scale")
    return np.ascontiguousarray(np.broadcast_to(array, shape))


def _no_scale(file: RasterFile, band: str) -> str:
    if file.dtype.kind == "f":
        return (
            f"{file.name} stores {band} as {file.dtype} and states no scale; needed to know "
            "whether that is reflectance; give scale=1 if values run from 0 to 1, or their scale"
        )
    return (
        f"{file.name} stores {band} as {file.dtype} and states no scale; needed to turn stored "
        "numbers into reflectance; give scale= (and offset=), such as scale=0.0001 for "
        "reflectance x 10000"
    )
