"""Open files as a scene: headers, a small sample for the units, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.bands import Level, Sensor
from geofm.errors import GridError, SceneError, UnitsError
from geofm.scenes.discover import find_products
from geofm.scenes.ground import coarser, ground_resolution
from geofm.scenes.header import LEVEL_TAG, RasterFile, read_header
from geofm.scenes.naming import date_in_name, find_sensor, to_date
from geofm.scenes.products import Product, check_products, product_files, quality_files
from geofm.scenes.quality import FileQuality, QualityFile, find_coding
from geofm.scenes.rasters import RasterSource
from geofm.scenes.reader import Scene
from geofm.scenes.stack import Stack, stack_files
from geofm.scenes.units import check_units
from geofm.scenes.warp import same_grid, source_window

Factors = float | Sequence[float] | npt.NDArray[Any]
Files = str | Path | Sequence[str | Path]
Days = Sequence[str | date | None]


def open_scene(
    source: Files,
    *,
    bands: Sequence[str | None] | None = None,
    sensor: str | Sensor | None = None,
    dates: str | date | Days | None = None,
    scale: Factors | None = None,
    offset: Factors | None = None,
    level: Level | None = None,
    nodata: float | None = None,
    geobox: GeoBox | None = None,
    resolution: float | None = None,
    quality: Files | None = None,
    quality_codes: str | Mapping[int, str] | None = None,
    masked_qa: Sequence[str] | None = None,
) -> Scene:
    """Open a product, a raster, or a list of either as bands, as dates or as both.

    Files on other grids are brought onto one: bilinear, with their validity;
    quality layers by the nearest pixel. What the caller states replaces what the
    files say.

    Args:
        source: an HLS v2.0 granule, a Landsat Collection 2 Level 2 product or a
            Sentinel-2 SAFE product (folder, zip, metadata file or list of files); a
            GeoTIFF, COG, VRT or another raster that GDAL reads; a path, an http(s), s3,
            gs or az address, or a list of them.
        bands: of a product, those wanted, in this order. Of rasters, common names in
            the order of a file's bands (or one for each one-band file); ``"-"`` or None
            leaves a band out.
        sensor: where bands are named by codes: ``"sentinel-2"``, ``"landsat-8-9"``,
            ``"landsat-4-7"``, one satellite of them, or a `geofm.bands.Sensor`.
        dates: one a file or product, or one a date: dates, or texts such as ``2020-01-31``.
        scale, offset: reflectance = stored number * scale + offset; one for
            all, or one a band.
        level: ``"toa"`` or ``"surface"`` reflectance.
        nodata: the fill, in place of a declared one.
        geobox: the grid of the scene; that of the finest file when None.
        resolution: side of a pixel in units of the CRS, in place of the finest file's.
        quality: quality layers in place of a product's own: one for all dates, or one a
            date with the date in its name.
        quality_codes: what their numbers mean: ``"fmask"``, ``"scl"``, ``"qa_pixel"``,
            ``"cloud"`` (any but 0), or number -> class; told by their names when None.
        masked_qa: quality classes that set a pixel aside, of cloud, adjacent, shadow,
            cirrus, snow, water and saturated; those of the model that maps when None.

    Raises:
        SceneError: a file is missing or not a whole raster, or dates do not fit; there is
            no quality layer, or it does not tell a class.
        BandError: bands are unknown, or not those of the files.
        UnitsError: there is no scale, or the values contradict it; levels differ.
        GridError: files do not meet on the ground, or one has no CRS.
    """
    paths = [str(path) for path in ([source] if isinstance(source, str | Path) else source)]
    if not paths:
        raise SceneError("an empty list of files was given; needed one or more rasters")
    days = [dates] if isinstance(dates, str | date) else dates
    products = _with_dates(find_products(paths), days)
    if products:
        check_products(products)
        files = product_files(products, bands=bands, pixel=resolution)
        stack = stack_files([_with_nodata(file, nodata) for file in files])
    else:
        files = [_with_nodata(read_header(path), nodata) for path in paths]
        stack = stack_files(files, bands=bands, sensor=find_sensor(sensor), dates=days)
    grid = _common_grid(files, geobox, resolution)
    scales, offsets = _units(files, stack, scale, offset)
    scene = Scene(
        id=products[0].id if products else Path(files[0].name).stem,
        bands=stack.bands,
        dates=stack.dates,
        geobox=grid,
        level=_level(files, level),
        scale=scales,
        offset=offsets,
        source=RasterSource(files=tuple(files), slots=stack.slots, geobox=grid),
        paths=tuple(file.name for file in files),
        quality=_quality(products, stack, grid, quality, quality_codes),
    )
    # What an agency states needs no sample of pixels to be believed.
    if not products or scale is not None or offset is not None:
        check_units(scene)
    return scene if masked_qa is None else scene.setting_aside(masked_qa)


def _with_dates(products: list[Product], days: Days | None) -> list[Product]:
    """Products on the caller's dates, one each.

    Raises:
        SceneError: their numbers differ.
    """
    if not products or days is None:
        return products
    if len(days) != len(products):
        raise SceneError(
            f"{len(products)} products and {len(days)} dates were given; give one for each"
        )
    return [
        replace(product, date=to_date(day)) for product, day in zip(products, days, strict=True)
    ]


def _quality(
    products: Sequence[Product],
    stack: Stack,
    grid: GeoBox,
    given: Files | None,
    codes: str | Mapping[int, str] | None,
) -> FileQuality | None:
    """The caller's quality layers, or the products' own; None where there is none at all."""
    if given is not None:
        paths = [str(path) for path in ([given] if isinstance(given, str | Path) else given)]
        files = [QualityFile(read_header(path), find_coding(codes, path)) for path in paths]
        layers = _by_date(files, stack.dates)
    else:
        by_date = {product.date: quality_files(product) for product in products}
        layers = tuple(by_date.get(day, ()) for day in stack.dates)
    for layer in (one for date_layers in layers for one in date_layers):
        _check_place(layer.file, grid)
    return FileQuality(layers, grid) if any(layers) else None


def _by_date(
    files: Sequence[QualityFile], dates: Sequence[date | None]
) -> tuple[tuple[QualityFile, ...], ...]:
    """One layer for all dates, or each date's own.

    Raises:
        SceneError: a date has none.
    """
    if len(files) == 1:
        return ((files[0],),) * len(dates)
    by_date = {date_in_name(one.file.name): one for one in files}
    if len(by_date) != len(files) or not set(by_date) >= set(dates) or None in by_date:
        raise SceneError(
            f"{len(files)} quality layers were given for {len(dates)} dates, and their names do "
            "not tell which is whose; needed one for all, or a date such as 20200131 in each name"
        )
    return tuple((by_date[day],) for day in dates)


def _with_nodata(file: RasterFile, nodata: float | None) -> RasterFile:
    if nodata is None:
        return file
    return replace(file, bands=tuple(replace(band, nodata=nodata) for band in file.bands))


def _common_grid(
    files: Sequence[RasterFile], geobox: GeoBox | None, resolution: float | None
) -> GeoBox:
    """The caller's grid or the finest file's; every file must have a place on it."""
    grid = _finest(files) if geobox is None else geobox
    if resolution is not None:
        grid = coarser(grid, resolution)
    for file in files:
        _check_place(file, grid)
    return grid


def _finest(files: Sequence[RasterFile]) -> GeoBox:
    """The first grid among those with the smallest pixels on the ground."""
    first = files[0].geobox
    grids = [first, *(file.geobox for file in files if not same_grid(file.geobox, first))]
    sizes = [ground_resolution(grid) or 0.0 for grid in grids]
    # Pixels of one size differ a little from place to place.
    return next(grid for grid, size in zip(grids, sizes, strict=True) if size <= 1.05 * min(sizes))


def _check_place(file: RasterFile, grid: GeoBox) -> None:
    """A file is on the grid, or can be brought onto it.

    Raises:
        GridError: it cannot.
    """
    if same_grid(file.geobox, grid):
        return
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
