"""Sentinel-2 SAFE products, L1C and L2A: folders, zips, and folders on an http server.

Bands, scale, offset and level come from the product's own ``MTD_MSI*.xml``:
reflectance = (stored number + offset) / quantification value, the offset by
band, -1000 since processing baseline 04.00 and absent before.
"""

import re
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as xml

from geofm.bands import SENTINEL_2, Level
from geofm.errors import SceneError
from geofm.scenes.handles import is_remote, plain_name
from geofm.scenes.metadata import read_xml, split_zip
from geofm.scenes.products import Layer, Product, base_name
from geofm.scenes.quality import SCL

_MTD = re.compile(r"(?:^|/)MTD_MSIL(?:1C|2A)\.xml$")
_IMAGE = re.compile(r"_(?P<code>B\d[\dA]|SCL)(?:_(?P<pixel>\d\d)m)?$")
_LEVELS: dict[str, Level] = {"Level-1C": "toa", "Level-2A": "surface"}
# L1C holds each band once, in the size that the instrument has.
PIXELS = dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20.0) | dict.fromkeys(
    ("B01", "B09", "B10"), 60.0
)
"""Of bands that are not of 10 m, metres."""


class _Image(NamedTuple):
    """One image of a product: its pixel size, metres, its code and its path."""

    pixel: float
    code: str
    path: str


def find_safe(path: str) -> str | None:
    """The ``MTD_MSI*.xml`` of a SAFE folder, zip or address; None if it is no such product.

    Raises:
        SceneError: the zip is damaged.
    """
    plain, _, query = path.partition("?") if is_remote(path) else (path, "", "")
    plain = plain.replace("\\", "/").rstrip("/")
    if _MTD.search(plain):
        return path
    if plain.lower().endswith(".zip") and Path(plain).is_file():
        return _find_in_zip(plain)
    if is_remote(path):
        level = "1C" if "_MSIL1C_" in plain else "2A"
        found = f"{plain}/MTD_MSIL{level}.xml" + (f"?{query}" if query else "")
        return found if plain.endswith(".SAFE") else None
    inside = sorted(Path(path).glob("MTD_MSIL*.xml")) if Path(path).is_dir() else []
    return str(inside[0]) if inside else None


def _find_in_zip(path: str) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            found = sorted(name for name in archive.namelist() if _MTD.search(name))
    except (zipfile.BadZipFile, OSError) as error:
        raise SceneError(
            f"{path} is no whole zip file ({error}); needed a zipped SAFE product; fetch it again"
        ) from error
    return f"/vsizip/{Path(path).absolute()}/{found[0]}" if found else None


def read_safe(metadata: str) -> Product:
    """A product from its ``MTD_MSI*.xml``; images that are not there are left out.

    Raises:
        SceneError: the metadata is damaged or of another level.
    """
    root, name = read_xml(metadata), plain_name(metadata)
    level = _LEVELS.get(_text(root, name, "PROCESSING_LEVEL"))
    if level is None:
        raise SceneError(f"{name} is of neither level 1C nor 2A; fetch one of these products")
    images = list(_images(root, metadata))
    scale = 1 / float(_text(root, name, "BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"))
    offsets = _offsets(root)
    nodata, saturated = _special(root, "NODATA") or 0.0, _special(root, "SATURATED")
    layers = [
        Layer(image.path, band.name, scale, offsets.get(band.name, 0.0) * scale, nodata,
              pixel=image.pixel, saturated=saturated)
        for band in SENTINEL_2.bands
        for image in sorted(images)
        if image.code == band.code
    ]  # fmt: skip
    classified = sorted(image for image in images if image.code == "SCL")
    return Product(
        id=_text(root, name, "PRODUCT_URI").removesuffix(".SAFE"),
        sensor=SENTINEL_2,
        date=date.fromisoformat(_text(root, name, "PRODUCT_START_TIME")[:10]),
        level=level,
        layers=tuple(layers),
        quality=((classified[0].path, SCL),) if classified else (),
    )


def _images(root: xml.Element, metadata: str) -> Iterator[_Image]:
    """The bands' images that the metadata lists and the product holds."""
    plain, _, query = metadata.partition("?") if is_remote(metadata) else (metadata, "", "")
    folder = plain.replace("\\", "/").rpartition("/")[0]
    members = _members(folder)
    for tag in ("IMAGE_FILE", "IMAGE_FILE_2A"):
        for element in root.iter(tag):
            path = f"{folder}/{(element.text or '').strip()}.jp2"
            match = _IMAGE.search(base_name(path).removesuffix(".jp2"))
            if match and (path in members if members is not None else _may_exist(path)):
                pixel = float(match["pixel"] or PIXELS.get(match["code"], 10.0))
                yield _Image(pixel, match["code"], path + (f"?{query}" if query else ""))


def _members(folder: str) -> set[str] | None:
    """Paths in the zip that holds this folder; None outside a zip."""
    if not folder.startswith("/vsizip/"):
        return None
    archive, _ = split_zip(f"{folder}/")
    with zipfile.ZipFile(archive) as file:
        return {f"/vsizip/{archive}/{member}" for member in file.namelist()}


def _may_exist(path: str) -> bool:
    """A server is not asked: what it lacks is found out when it is opened."""
    return is_remote(path) or Path(path).is_file()


def _offsets(root: xml.Element) -> dict[str, float]:
    """Offset of stored numbers by common name; empty before baseline 04.00."""
    codes = {e.get("bandId"): e.get("physicalBand", "") for e in root.iter("Spectral_Information")}
    found = [*root.iter("BOA_ADD_OFFSET"), *root.iter("RADIO_ADD_OFFSET")]
    return {
        SENTINEL_2.common_name(codes.get(e.get("band_id"), "")) or "": float(e.text or 0)
        for e in found
    }


def _special(root: xml.Element, meaning: str) -> float | None:
    """The number that the product gives this meaning."""
    for special in root.iter("Special_Values"):
        if special.findtext("SPECIAL_VALUE_TEXT") == meaning:
            return float(special.findtext("SPECIAL_VALUE_INDEX") or 0)
    return None


def _text(root: xml.Element, name: str, *tags: str) -> str:
    """The text of the first of these tags.

    Raises:
        SceneError: there is none.
    """
    for tag in tags:
        element = next(root.iter(tag), None)
        if element is not None and element.text:
            return element.text.strip()
    raise SceneError(f"{name} states no {' or '.join(tags)}; fetch the product again")
