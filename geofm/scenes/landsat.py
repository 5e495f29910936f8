"""Landsat Collection 2 Level 2 (4 to 9): files by name, scale and offset from the MTL.

https://www.usgs.gov/landsat-missions/landsat-collection-2-level-2-science-products
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from geofm.bands import LANDSAT_4_7, LANDSAT_8_9
from geofm.errors import SceneError
from geofm.scenes.metadata import read_json, read_text, read_xml
from geofm.scenes.products import Layer, Product, base_name
from geofm.scenes.quality import QA_PIXEL, QA_RADSAT_4_7, QA_RADSAT_8_9, Coding

# Of every Collection 2 Level 2 product; the MTL repeats them band by band.
_SCALE, _OFFSET, _NODATA = 2.75e-5, -0.2, 0.0
_FILE = re.compile(
    r"^(?P<product>L[COTEM]0(?P<number>[45789])_(?P<level>L\d\w\w)_\d{6}_(?P<day>\d{8})_\d{8}_02_"
    r"(?:T1|T2|RT))_(?P<layer>\w+)\.(?:tif|txt|json|xml)$",
    re.IGNORECASE,
)
_MTL = ("_MTL.txt", "_MTL.json", "_MTL.xml")


def landsat_product(path: str) -> str | None:
    """The Collection 2 product that a file belongs to, or None if it belongs to none.

    >>> landsat_product("LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4.TIF")
    'LC08_L2SP_008059_20191201_20200825_02_T1'
    """
    match = _FILE.match(base_name(path))
    return match["product"] if match else None


def read_landsat(product: str, paths: Sequence[str]) -> Product:
    """A product from its files; where an MTL stands with or beside them, it is heeded.

    Raises:
        SceneError: it is not of Level 2, or its MTL is damaged.
    """
    match = _FILE.match(f"{product}_MTL.txt")
    assert match is not None, product
    if match["level"].upper() not in {"L2SP", "L2SR"}:
        raise SceneError(
            f"{product} is of level {match['level']}; needed Level 2 surface reflectance (L2SP or "
            "L2SR); fetch that product"
        )
    sensor = LANDSAT_8_9 if match["number"] in "89" else LANDSAT_4_7
    files = {base_name(path)[len(product) + 1 :].rpartition(".")[0].upper(): path for path in paths}
    factors = _factors(product, paths)
    layers = []
    for band in sensor.bands:
        path = files.get(f"SR_{band.code}")
        if path:
            scale, offset = factors.get(band.code, (_SCALE, _OFFSET))
            layers.append(Layer(path, band.name, scale, offset, _NODATA, pixel=None))
    saturation = QA_RADSAT_8_9 if sensor is LANDSAT_8_9 else QA_RADSAT_4_7
    codings: tuple[tuple[str, Coding], ...] = (("QA_PIXEL", QA_PIXEL), ("QA_RADSAT", saturation))
    return Product(
        id=product,
        sensor=sensor,
        date=datetime.strptime(match["day"], "%Y%m%d").replace(tzinfo=UTC).date(),
        level="surface",
        layers=tuple(layers),
        quality=tuple((files[layer], coding) for layer, coding in codings if layer in files),
    )


def _factors(product: str, paths: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Scale and offset by band code (``B4``), from an MTL given or beside the files.

    Raises:
        SceneError: the MTL is damaged.
    """
    beside = [str(Path(paths[0]).parent / f"{product}{end}") for end in _MTL]
    given = [path for path in paths if base_name(path).endswith(_MTL)]
    found = given or [path for path in beside if Path(path).is_file()]
    if not found:
        return {}
    facts = _read_mtl(found[0]).get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", {})
    codes = [key.rpartition("_")[2] for key in facts if key.startswith("REFLECTANCE_MULT_BAND_")]
    try:
        return {
            f"B{code}": (
                float(facts[f"REFLECTANCE_MULT_BAND_{code}"]),
                float(facts[f"REFLECTANCE_ADD_BAND_{code}"]),
            )
            for code in codes
        }
    except (KeyError, ValueError) as error:
        raise SceneError(
            f"{base_name(found[0])} states no scale and offset for every band ({error}); "
            "fetch the file again"
        ) from error


def _read_mtl(path: str) -> Mapping[str, Mapping[str, str]]:
    """Groups of an MTL: names and values, as text."""
    match Path(base_name(path)).suffix:
        case ".json":
            (groups,) = read_json(path).values()
            return dict(groups)
        case ".xml":
            return {group.tag: {e.tag: e.text or "" for e in group} for group in read_xml(path)}
        case _:
            return _read_odl(read_text(path))


def _read_odl(text: str) -> Mapping[str, Mapping[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    group = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif value and key != "END_GROUP":
            groups.setdefault(group, {})[key] = value.strip('"')
    return groups
