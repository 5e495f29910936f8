"""Raw bytes of a finished map to Cloud-Optimized GeoTIFFs.

A raw file holds a layer row by row, band after band, uint8. A small VRT says what the
numbers mean, and GDAL's COG driver turns it into tiles and overviews, reading in
bounded memory. Built from complete bytes it is the same file every time.
"""

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

from geofm.errors import OutputError
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
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise OutputError(
            f"cannot write {out.name} ({str(error).splitlines()[0]}); "
            "free some space or choose another folder, then go on with --resume"
        ) from error


def gdal_version() -> str:
    """The version of the GDAL that writes the maps."""
    return str(rasterio.__gdal_version__)


def _describe(raw: Path, layer: RawLayer, geobox: GeoBox) -> ET.Element:
    """A VRT over the raw bytes (https://gdal.org/drivers/raster/vrt.html)."""
    height, width = geobox.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if geobox.crs is not None:
        _add(root, "SRS", geobox.crs.to_wkt())
    # repr keeps every bit of the numbers.
    _add(root, "GeoTransform", ", ".join(repr(float(v)) for v in geobox.transform.to_gdal()))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in layer.tags.items():
        _add(metadata, "MDI", value, key=key)
    for index, band in enumerate(layer.bands):
        element = ET.SubElement(
            root,
            "VRTRasterBand",
            dataType="Byte",
            band=str(index + 1),
            subClass="VRTRawRasterBand",
        )
        _add(element, "Description", band)
        _add(element, "NoDataValue", str(NODATA))
        if layer.scale != 1:
            _add(element, "Scale", repr(layer.scale))
            _add(element, "Offset", "0")
        if layer.unit:
            _add(element, "UnitType", layer.unit)
        if layer.classes:
            _add_classes(element, layer.classes)
        _add(element, "SourceFilename", raw.name, relativetoVRT="1")
        _add(element, "ImageOffset", str(index * height * width))
        _add(element, "PixelOffset", "1")
        _add(element, "LineOffset", str(width))
    return root


def _add_classes(band: ET.Element, classes: Sequence[MapClass]) -> None:
    names = {code: c.name for code, c in enumerate(classes)} | CODE_NAMES
    colors = {code: c.color for code, c in enumerate(classes)} | CODE_COLORS
    _add(band, "ColorInterp", ColorInterp.palette.name.capitalize())
    table, categories = ET.SubElement(band, "ColorTable"), ET.SubElement(band, "CategoryNames")
    for code in range(NODATA + 1):
        red, green, blue = bytes.fromhex(colors.get(code, "#000000")[1:])
        alpha = "0" if code == NODATA else "255"
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=alpha)
        _add(categories, "Category", names.get(code, ""))


def _add(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
