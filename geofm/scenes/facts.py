"""What a raster file says of itself, shown without judging it.

`open_scene` refuses a file that would make a wrong map; this reads the same
file for people who want to know why, and reads finished maps back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy.typing as npt
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from geofm.errors import SceneError
from geofm.scenes.handles import borrow, gdal_reason, is_remote, plain_name
from geofm.scenes.window import Window


@dataclass(frozen=True, slots=True)
class RasterFacts:
    """A raster's own words.

    Attributes:
        descriptions, units: of each band; empty where the file has none.
        scales, offsets: of each band; 1 and 0 where the file has none.
        overviews: how many times smaller each overview is.
        categories, colors: class names and ``#rrggbb`` by stored code.
        size_bytes: of the file; None for a URL.
    """

    path: str
    driver: str
    geobox: GeoBox
    dtype: str
    descriptions: tuple[str, ...]
    units: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: float | None
    block_shape: tuple[int, int]
    compression: str
    overviews: tuple[int, ...]
    tags: Mapping[str, str]
    categories: Mapping[int, str]
    colors: Mapping[int, str]
    size_bytes: int | None

    @property
    def count(self) -> int:
        return len(self.descriptions)


def read_facts(path: str | Path) -> RasterFacts:
    """Read what a raster says of itself; no pixels.

    Raises:
        SceneError: there is no file, or GDAL cannot read it.
    """
    with _opened(str(path)) as file:
        return RasterFacts(
            path=plain_name(str(path)),
            driver=file.driver,
            geobox=GeoBox(file.shape, file.transform, CRS(file.crs.to_wkt()) if file.crs else None),
            dtype=file.dtypes[0],
            descriptions=tuple(text or "" for text in file.descriptions),
            units=tuple(text or "" for text in file.units),
            scales=tuple(file.scales),
            offsets=tuple(file.offsets),
            nodata=file.nodata,
            block_shape=file.block_shapes[0],
            compression=file.compression.value if file.compression else "none",
            overviews=tuple(file.overviews(1)),
            tags=file.tags(),
            categories=_categories(Path(path)),
            colors=_colors(file),
            size_bytes=Path(path).stat().st_size if Path(path).is_file() else None,
        )


def read_preview(path: str | Path, *, side: int, bands: int = 1) -> npt.NDArray[Any]:
    """Read a raster small enough to look at, each pixel a stored number as it is.

    Args:
        side: pixels that neither side of the preview exceeds.
        bands: how many of the first bands.

    Returns:
        (bands, h, w), as stored.

    Raises:
        SceneError: as `read_facts`, or its pixels are damaged.
    """
    with _opened(str(path)) as file:
        step = max(1.0, max(file.shape) / side)
        shape = tuple(max(1, round(length / step)) for length in file.shape)
        bands = min(bands, file.count)
        preview: npt.NDArray[Any] = file.read(
            list(range(1, bands + 1)), out_shape=(bands, *shape), resampling=Resampling.nearest
        )
    return preview


def read_window(path: str | Path, window: Window) -> npt.NDArray[Any]:
    """Read a window of a raster's first band as stored, (1, height, width).

    Raises:
        SceneError: as `read_facts`, or its pixels are damaged.
    """
    with _opened(str(path)) as file:
        wanted = RasterWindow(window.col, window.row, window.width, window.height)
        pixels: npt.NDArray[Any] = file.read([1], window=wanted)
    return pixels


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    local = Path(path)
    if not is_remote(path):
        if not local.exists():
            raise SceneError(f"there is no {path}; check the path")
        if local.is_dir():
            raise SceneError(f"{path} is a folder; name a raster in it")
        if local.stat().st_size == 0:
            raise SceneError(f"{path} is empty (0 bytes); fetch or write it again")
    try:
        with borrow(path) as file:
            yield file
    except (RasterioError, OSError) as error:
        raise SceneError(
            f"{plain_name(path)} cannot be read ({gdal_reason(error, path)}); "
            "name a whole GeoTIFF, COG or VRT"
        ) from error


def _colors(file: Any) -> dict[int, str]:
    if file.colorinterp[0] != ColorInterp.palette:
        return {}
    table = file.colormap(1)
    return {
        code: f"#{red:02x}{green:02x}{blue:02x}" for code, (red, green, blue, _) in table.items()
    }


def _categories(path: Path) -> dict[int, str]:
    """Class names by code; rasterio does not read them.

    GDAL keeps them beside a GeoTIFF, and inside a VRT.
    """
    inside = path.suffix.lower() == ".vrt"
    file = path if inside else path.with_name(path.name + ".aux.xml")
    if not file.is_file():
        return {}
    band = "VRTRasterBand" if inside else "PAMRasterBand"
    try:
        # The parser expands no entity from outside; a broken file has no names.
        names = xml.parse(file).findall(f"{band}/CategoryNames/Category")  # noqa: S314
    except xml.ParseError:
        return {}
    return {code: name.text for code, name in enumerate(names) if name.text}
