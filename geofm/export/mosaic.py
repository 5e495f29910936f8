"""Many maps as one: a VRT over the maps of each CRS and pixel size.

A VRT holds no pixel; it names its maps by paths from its own folder, and GDAL reads those
that are looked at (https://gdal.org/drivers/raster/vrt.html).
"""

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.export.geotiff import BLOCK_SIZE, add_classes, add_element
from geofm.tasks import NODATA, MapClass

_WHOLE = 1e-3
"""Pixels that an offset may be from a whole number and count as one."""


@dataclass(frozen=True, slots=True)
class MosaicPart:
    """One map of a mosaic.

    Attributes:
        file: name of the raster, in the mosaic's folder.
        geobox: its grid, north up.
    """

    file: str
    geobox: GeoBox


@dataclass(frozen=True, slots=True)
class MosaicGroup:
    """Maps that one VRT can hold: of one CRS and one pixel size.

    Attributes:
        label: tells it from other groups, such as ``"EPSG32633"``; "" for the only one.
        parts: those that come later lie on top.
    """

    label: str
    parts: tuple[MosaicPart, ...]


def group_parts(parts: Sequence[MosaicPart]) -> list[MosaicGroup]:
    """Maps by CRS and pixel size; those that are not north up are in none, as VRTs need."""
    groups: dict[tuple[str, str], list[MosaicPart]] = {}
    for part in parts:
        box = part.geobox
        turned = box.transform.b or box.transform.d
        if box.crs is None or turned or box.transform.a <= 0 or box.transform.e >= 0:
            continue
        sides = f"{box.transform.a:.9g}x{-box.transform.e:.9g}"
        groups.setdefault((_crs_label(part), sides), []).append(part)
    if len(groups) == 1:
        return [MosaicGroup("", tuple(*groups.values()))]
    names = [name for name, _ in groups]
    return [
        MosaicGroup(name if names.count(name) == 1 else f"{name}_{sides}", tuple(held))
        for (name, sides), held in groups.items()
    ]


def mosaic_vrt(
    parts: Sequence[MosaicPart], *, name: str, classes: Sequence[MapClass] = (), unit: str = ""
) -> str:
    """The text of a VRT over maps of one CRS and pixel size.

    Where maps overlap, the later one shows, and the earlier through its nodata. Grids that
    are apart by a part of a pixel meet at the nearest one.

    Args:
        parts: one or more, as `group_parts` gives them.
        name: of the band.
        classes: their names and colours; none for an amount.
        unit: of the amount.
    """
    first = parts[0].geobox
    across, down = first.transform.a, -first.transform.e
    boxes = [part.geobox.boundingbox for part in parts]
    left, top = min(box.left for box in boxes), max(box.top for box in boxes)
    right, bottom = max(box.right for box in boxes), min(box.bottom for box in boxes)
    root = ET.Element(
        "VRTDataset",
        rasterXSize=str(math.ceil((right - left) / across - _WHOLE)),
        rasterYSize=str(math.ceil((top - bottom) / down - _WHOLE)),
    )
    assert first.crs is not None, "group_parts leaves out maps without one"
    add_element(root, "SRS", first.crs.to_wkt())
    grid = Affine(across, 0, left, 0, -down, top)
    add_element(root, "GeoTransform", ", ".join(repr(float(v)) for v in grid.to_gdal()))
    band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band="1")
    add_element(band, "Description", name)
    add_element(band, "NoDataValue", str(NODATA))
    if unit:
        add_element(band, "UnitType", unit)
    if classes:
        add_classes(band, classes)
    for part, box in zip(parts, boxes, strict=True):
        _add_source(band, part, col=(box.left - left) / across, row=(top - box.top) / down)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def write_text(path: Path, text: str) -> None:
    """Put a text in its place, whole."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _add_source(band: ET.Element, part: MosaicPart, *, col: float, row: float) -> None:
    height, width = part.geobox.shape
    source = ET.SubElement(band, "ComplexSource")
    add_element(source, "SourceFilename", part.file, relativeToVRT="1")
    add_element(source, "SourceBand", "1")
    # So that GDAL opens no map before it is looked at.
    ET.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(width),
        RasterYSize=str(height),
        DataType="Byte",
        BlockXSize=str(BLOCK_SIZE),
        BlockYSize=str(BLOCK_SIZE),
    )
    size = {"xSize": str(width), "ySize": str(height)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", {"xOff": _offset(col), "yOff": _offset(row), **size})
    add_element(source, "NODATA", str(NODATA))


def _offset(pixels: float) -> str:
    near = round(pixels)
    return str(near) if abs(pixels - near) < _WHOLE else repr(pixels)


def _crs_label(part: MosaicPart) -> str:
    crs = part.geobox.crs
    assert crs is not None, part
    return f"EPSG{crs.epsg}" if crs.epsg else f"CRS{zlib.crc32(crs.to_wkt().encode()):08x}"
