"""Open anything as a scene: headers and metadata, a small sample for the units, nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from odc.geo.geobox import GeoBox

from geofm.bands import Level, Sensor
from geofm.errors import GridError, SceneError, UnitsError
from geofm.scenes.arrayfiles import is_array_file, open_array_file
from geofm.scenes.discover import find_products
from geofm.scenes.factors import Factors, Stated, find_factors
from geofm.scenes.ground import coarser, ground_resolution
from geofm.scenes.handles import plain_name
from geofm.scenes.header import LEVEL_TAG, RasterFile, read_header
from geofm.scenes.naming import date_in_name, find_sensor, to_date
from geofm.scenes.products import Product, check_products, product_files, quality_files
from geofm.scenes.quality import FileQuality, Quality, QualityFile, find_coding
from geofm.scenes.rasters import RasterSource
from geofm.scenes.reader import Scene
from geofm.scenes.stac import find_items
from geofm.scenes.stack import Stack, stack_files
from geofm.scenes.units import check_units
from geofm.scenes.warp import same_grid, source_window

if TYPE_CHECKING:
    import xarray as xr

    from geofm.scenes.arrays import Cube

_DATES_LOOKED_AT = 4

Files = str | Path | Sequence[str | Path]
Days = Sequence[str | date | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Said:
    """What the caller says of the source; attributes as the arguments of `open_scene`."""

    bands: Sequence[str | None] | None
    sensor: Sensor | None
    dates: Days | None
    scale: Factors | None
    offset: Factors | None
    level: Level | None
    nodata: float | None
    geobox: GeoBox | None
    resolution: float | None
    ground_size: float | None
    quality: Files | None
    quality_codes: str | Mapping[int, str] | None


def open_scene(
    source: Any,
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
    ground_size: float | None = None,
    quality: Files | None = None,
    quality_codes: str | Mapping[int, str] | None = None,
    masked_qa: Sequence[str] | None = None,
    sign: Callable[[str], str] | None = None,
) -> Scene:
    """Open a product, a catalogue item, an array or rasters as one scene.

    A list is taken as bands, as dates or as both.

    Files on other grids are brought onto one: bilinear, with their validity;
    quality layers by the nearest pixel. What the caller states replaces what the
    files say.

    Args:
        source: a path or address (http(s), s3, gs, az), or a list of them:
            a product: HLS v2.0, Landsat Collection 2 Level 2, or Sentinel-2 SAFE (folder,
            zip, metadata file or list of files; also a tile's folder as clouds keep it);
            a STAC item, item collection or collection (JSON, a dict, or pystac's object);
            an xarray DataArray or Dataset, a NetCDF file or a Zarr store;
            a GeoTIFF, COG, VRT or another raster that GDAL reads.
        bands: of a product or item, those wanted, in this order. Of rasters, common names in
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
        ground_size: side of a pixel on the ground, metres, where there is no CRS to tell it.
        quality: quality layers in place of a product's own: one for all dates, or one a
            date with the date in its name.
        quality_codes: what their numbers mean: ``"fmask"``, ``"scl"``, ``"qa_pixel"``,
            ``"cloud"`` (any but 0), or number -> class; told by their names when None.
        masked_qa: quality classes that set a pixel aside, of cloud, adjacent, shadow,
            cirrus, snow, water and saturated; those of the model that maps when None.
        sign: address of a STAC asset -> the address with a token, such as
            ``planetary_computer.sign``; tokens stay out of receipts and messages.

    Raises:
        SceneError: a file is missing or not a whole raster, or dates do not fit; there is
            no quality layer, or it does not tell a class.
        BandError: bands are unknown, or not those of the files.
        UnitsError: there is no scale, or the values contradict it; levels differ.
        GridError: files do not meet on the ground, or one has no CRS; ``ground_size`` is no
            length, or the CRS tells it already.
    """
    said = _Said(
        bands=bands,
        sensor=find_sensor(sensor),
        dates=[dates] if isinstance(dates, str | date) else dates,
        scale=scale,
        offset=offset,
        level=level,
        nodata=nodata,
        geobox=geobox,
        resolution=resolution,
        ground_size=ground_size,
        quality=quality,
        quality_codes=quality_codes,
    )
    scene = _with_ground_size(_open(source, said, sign), ground_size)
    return scene if masked_qa is None else scene.setting_aside(masked_qa)


def _with_ground_size(scene: Scene, ground_size: float | None) -> Scene:
    if ground_size is None:
        return scene
    if not 0 < ground_size < float("inf"):
        raise GridError(f"ground_size={ground_size:g} is no length; give metres such as 30")
    if scene.resolution is not None:
        raise GridError(
            f"{scene.id} has a CRS, which tells that its pixels are {scene.resolution:.3g} m "
            "on the ground; leave out ground_size="
        )
    return replace(scene, ground_size=ground_size)


def _open(source: Any, said: _Said, sign: Callable[[str], str] | None) -> Scene:
    """By what the source is, each kind to its opener."""
    if _is_array(source):
        return _open_array(source, said, paths=())
    items = find_items(source, sign)
    if items is not None:
        return _open_products(items, said)
    paths = [str(path) for path in ([source] if isinstance(source, str | Path) else source)]
    if not paths:
        raise SceneError("an empty list of files was given; needed one or more rasters")
    if any(map(is_array_file, paths)):
        return _open_array(open_array_file(_single(paths)), said, paths=paths)
    products = find_products(paths)
    return _open_products(products, said) if products else _open_rasters(paths, said)


def _is_array(source: Any) -> bool:
    """Whether it is an xarray object; asked without importing xarray."""
    kind = type(source)
    return kind.__module__.partition(".")[0] == "xarray" and kind.__name__ in {
        "DataArray",
        "Dataset",
    }


def _single(paths: Sequence[str]) -> str:
    if len(paths) > 1:
        raise SceneError(
            f"{len(paths)} files were given, and {plain_name(paths[0])} or another is NetCDF or "
            "Zarr; needed one such file; join them with xarray.open_mfdataset and give the result"
        )
    return paths[0]


def _open_products(products: Sequence[Product], said: _Said) -> Scene:
    products = _with_dates(products, said.dates)
    check_products(products)
    _check_offsets(products, said.offset)
    files = product_files(products, bands=said.bands, pixel=said.resolution)
    files = [_with_nodata(file, said.nodata) for file in files]
    by_date = {product.date: product for product in products}
    scene = _file_scene(products[0].id, files, stack_files(files), said)
    if said.quality is None:
        layers = tuple(quality_files(by_date[day]) for day in scene.dates)
        scene = replace(scene, quality=_file_quality(layers, scene.geobox))
    # What an agency states needs no sample of pixels to be believed.
    doubtful = said.offset is None and any(product.doubtful for product in products)
    if said.scale is not None or said.offset is not None or doubtful:
        check_units(scene, doubtful=doubtful)
    return scene


def _check_offsets(products: Sequence[Product], given: Factors | None) -> None:
    """Offsets are known, or the caller gives one.

    Raises:
        UnitsError: they are not.
    """
    conflict = next((product for product in products if product.conflict), None)
    if conflict is not None and given is None:
        raise UnitsError(
            f"{conflict.id}: {conflict.conflict}; needed to know whether the offset has been "
            "applied to the pixels already; look at a dark place, and give offset=0 if it has, "
            "else offset=-0.1"
        )


def _open_rasters(paths: Sequence[str], said: _Said) -> Scene:
    files = [_with_nodata(read_header(path), said.nodata) for path in paths]
    stack = stack_files(files, bands=said.bands, sensor=said.sensor, dates=said.dates)
    scene = _file_scene(Path(files[0].name).stem, files, stack, said)
    check_units(scene)
    return scene


def _file_scene(name: str, files: Sequence[RasterFile], stack: Stack, said: _Said) -> Scene:
    """A scene of files whose headers say all that is known of them."""
    grid = _common_grid(files, said.geobox, said.resolution)
    scale, offset = find_factors(_file_units(files, stack), stack.bands, said.scale, said.offset)
    return Scene(
        id=name,
        bands=stack.bands,
        dates=stack.dates,
        geobox=grid,
        level=_level(files, said.level),
        scale=scale,
        offset=offset,
        source=RasterSource(files=tuple(files), slots=stack.slots, geobox=grid),
        paths=tuple(file.name for file in files),
        quality=_given_quality(said, stack.dates, grid),
    )


def _open_array(source: "xr.DataArray | xr.Dataset", said: _Said, *, paths: Sequence[str]) -> Scene:
    from geofm.scenes.arrays import ArraySource, cube_quality, read_cube, stated_nodata

    if said.geobox is not None or said.resolution is not None:
        raise GridError(
            "geobox= and resolution= were given with an array, which stays on its own grid; "
            "resample it first (array.odc.reproject(geobox))"
        )
    cube = read_cube(source, bands=said.bands, sensor=said.sensor, dates=said.dates)
    variables = list(cube.data.data_vars.values())
    scale, offset = find_factors(_cube_units(cube), cube.bands, said.scale, said.offset)
    fills = [stated_nodata(one) if said.nodata is None else said.nodata for one in variables]
    scene = Scene(
        id=Path(plain_name(paths[0])).stem if paths else cube.id,
        bands=cube.bands,
        dates=cube.dates,
        geobox=cube.geobox,
        level=_checked_level(said.level) or cube.level,
        scale=scale,
        offset=offset,
        source=ArraySource(data=cube.data, nodata=tuple(fills)),
        paths=tuple(map(plain_name, paths)),
        quality=_given_quality(said, cube.dates, cube.geobox) or cube_quality(cube),
    )
    # All dates of an array are in its one unit.
    count = len(cube.dates)
    check_units(scene, dates=range(0, count, -(-count // _DATES_LOOKED_AT)))
    return scene


def _with_dates(products: Sequence[Product], days: Days | None) -> Sequence[Product]:
    """Products on the caller's dates, one each.

    Raises:
        SceneError: their numbers differ.
    """
    if days is None:
        return products
    if len(days) != len(products):
        raise SceneError(
            f"{len(products)} products and {len(days)} dates were given; give one for each"
        )
    return [
        replace(product, date=to_date(day)) for product, day in zip(products, days, strict=True)
    ]


def _given_quality(said: _Said, dates: Sequence[date | None], grid: GeoBox) -> Quality | None:
    """The quality layers that the caller gives; None where there are none."""
    if said.quality is None:
        return None
    given = [said.quality] if isinstance(said.quality, str | Path) else said.quality
    files = [
        QualityFile(read_header(path), find_coding(said.quality_codes, str(path))) for path in given
    ]
    return _file_quality(_by_date(files, dates), grid)


def _file_quality(layers: tuple[tuple[QualityFile, ...], ...], grid: GeoBox) -> FileQuality | None:
    """Quality layers of each date, all of which have a place on the grid; None without any."""
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
    if given is not None:
        return _checked_level(given) or given
    stated = {file.tags.get(LEVEL_TAG, "unknown") for file in files}
    if len(stated) > 1:
        raise UnitsError(
            f"the files mix levels ({', '.join(sorted(stated))}); needed one for all; open files "
            "of one level, or give level= where a file's tag is wrong or absent"
        )
    found = stated.pop()
    return cast(Level, found) if found in get_args(Level) else "unknown"


def _checked_level(given: Level | None) -> Level | None:
    known = get_args(Level)
    if given is not None and given not in known:
        raise UnitsError(f"unknown level {given!r}; known: {', '.join(known)}")
    return given


def _file_units(files: Sequence[RasterFile], stack: Stack) -> list[list[Stated]]:
    """Of each date and band."""
    return [
        [
            Stated(file.name, file.dtype, band.scale, band.offset)
            for file, band in ((files[at.file], files[at.file].bands[at.band]) for at in row)
        ]
        for row in stack.slots
    ]


def _cube_units(cube: "Cube") -> list[list[Stated]]:
    """Of each date and band."""
    from geofm.scenes.arrays import stated_units

    row = [
        Stated(cube.id, variable.dtype, *stated_units(variable))
        for variable in cube.data.data_vars.values()
    ]
    return [row] * len(cube.dates)
