"""Raw bytes of a finished map to Cloud-Optimized GeoTIFFs.

A raw file holds a layer row by row, band after band, uint8. A small VRT says what the
numbers mean, and GDAL's COG driver turns it into tiles and overviews, reading in
bounded memory. Built from complete bytes it is the same file every time.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what GDAL's copy raises has no public name
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy

from geofm.errors import DiskFullError, OutputError
from geofm.tasks import CODE_COLORS, CODE_NAMES, NODATA, MapClass

BLOCK_SIZE = 512
CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class RawLayer:
    """One raster of a map, and what its numbers mean.

    Attributes:
        name: file stem of the raw bytes.
        bands: description of each band.
        overviews: how overviews are made: ``"MODE"`` for codes, ``"AVERAGE"`` for amounts.
        classes: classes whose names and colours the file carries; empty for amounts.
        scale: a stored number times this is the amount; 1 for codes.
        unit: of the amount.
        tags: dataset metadata.
    """

    name: str
    bands: tuple[str, ...]
    overviews: str
    classes: tuple[MapClass, ...] = ()
    scale: float = 1.0
    unit: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def write_cog(raw: Path, layer: RawLayer, geobox: GeoBox, out: Path) -> None:
    """Write ``raw`` as a Cloud-Optimized GeoTIFF at ``out``.

    Category names go to ``out`` + ``.aux.xml``, where GDAL keeps them.

    Args:
        raw: bands x height x width bytes; a VRT is written beside it.
        out: replaced if it exists.

    Raises:
        OutputError: GDAL cannot write it, most often for want of space.
    """
    vrt = raw.with_suffix(".vrt")
    vrt.write_bytes(ET.tostring(_describe(raw, layer, geobox), encoding="utf-8"))
    try:
        _check_space(raw, out)
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            copy(
                vrt,
                out,
                driver="COG",
                BLOCKSIZE=BLOCK_SIZE,
                COMPRESS="DEFLATE",
                PREDICTOR="NO",
                OVERVIEW_RESAMPLING=layer.overviews,
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
            )
            _check_whole(vrt, out)
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise OutputError(
            f"cannot write {out.name} whole ({str(error).splitlines()[0]}); "
            "free some space or choose another folder, then go on with --resume"
        ) from error


def _check_space(raw: Path, out: Path) -> None:
    """Refuse a disk that could run full: GDAL says so on stderr, and not always to us.

    Raises:
        DiskFullError: there is too little room.
    """
    # The file with its overviews, once more the overviews while it is built, and headers.
    needed = raw.stat().st_size * 5 // 3 + 2**20
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise DiskFullError(
            f"cannot write {out.name} ({free / 2**20:.0f} MiB are free, up to "
            f"{needed / 2**20:.0f} MiB are needed); free some space, then go on with --resume"
        )


def _check_whole(vrt: Path, out: Path) -> None:
    """Read the file back: a disk that ran full leaves holes that GDAL does not report.

    Raises:
        OSError, RasterioError: a block is missing, unreadable or differs.
    """
    with rasterio.open(vrt) as source, rasterio.open(out) as written:
        for _, window in written.block_windows(1):
            if (source.read(window=window) != written.read(window=window)).any():
                raise OSError(f"{out.name} differs from what was written")
        factors = written.overviews(1)
    for level in range(len(factors)):
        with rasterio.open(out, overview_level=level) as overview:
            for (row, col), window in overview.block_windows(1):
                overview.read(window=window)
                for band in overview.indexes:
                    name = f"BLOCK_OFFSET_{col}_{row}"
                    if overview.get_tag_item(name, "TIFF", bidx=band) is None:
                        raise OSError(f"{out.name} lacks a block of an overview")


def gdal_version() -> str:
    """The version of the GDAL that writes the maps."""
    return str(rasterio.__gdal_version__)


def _describe(raw: Path, layer: RawLayer, geobox: GeoBox) -> ET.Element:
    """A VRT over the raw bytes (https://gdal.org/drivers/raster/vrt.html)."""
    height, width = geobox.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if geobox.crs is not None:
        add_element(root, "SRS", geobox.crs.to_wkt())
    # repr keeps every bit of the numbers.
    add_element(root, "GeoTransform", ", ".join(repr(float(v)) for v in geobox.transform.to_gdal()))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in layer.tags.items():
        add_element(metadata, "MDI", value, key=key)
    for index, band in enumerate(layer.bands):
        element = ET.SubElement(
            root,
            "VRTRasterBand",
            dataType="Byte",
            band=str(index + 1),
            subClass="VRTRawRasterBand",
        )
        add_element(element, "Description", band)
        add_element(element, "NoDataValue", str(NODATA))
        if layer.scale != 1:
            add_element(element, "Scale", repr(layer.scale))
            add_element(element, "Offset", "0")
        if layer.unit:
            add_element(element, "UnitType", layer.unit)
        if layer.classes:
            add_classes(element, layer.classes)
        add_element(element, "SourceFilename", raw.name, relativetoVRT="1")
        add_element(element, "ImageOffset", str(index * height * width))
        add_element(element, "PixelOffset", "1")
        add_element(element, "LineOffset", str(width))
    return root


def add_classes(band: ET.Element, classes: Sequence[MapClass]) -> None:
    """Give a VRT's band the colours and names of a map's classes and codes."""
    names = {code: c.name for code, c in enumerate(classes)} | CODE_NAMES
    colors = {code: c.color for code, c in enumerate(classes)} | CODE_COLORS
    add_element(band, "ColorInterp", ColorInterp.palette.name.capitalize())
    table, categories = ET.SubElement(band, "ColorTable"), ET.SubElement(band, "CategoryNames")
    for code in range(NODATA + 1):
        red, green, blue = bytes.fromhex(colors.get(code, "#000000")[1:])
        alpha = "0" if code == NODATA else "255"
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=alpha)
        add_element(categories, "Category", names.get(code, ""))


def add_element(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    """Append an element that holds a text."""
    ET.SubElement(parent, tag, attributes).text = text
