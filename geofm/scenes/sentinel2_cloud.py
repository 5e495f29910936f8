"""Sentinel-2 tiles as clouds keep them: a folder of JP2 beside the tile's ``metadata.xml``.

``B02.jp2`` for L1C, ``R10m/B02.jp2``, ``R20m/SCL.jp2`` and so on for L2A. The tile's
metadata state no offset: it follows from the processing baseline in the tile's id.
"""

import re
from datetime import date
from pathlib import Path

from geofm.bands import SENTINEL_2, Level
from geofm.errors import SceneError
from geofm.scenes.handles import is_remote, plain_name
from geofm.scenes.metadata import read_xml
from geofm.scenes.offsets import AGENCY_OFFSET, FIRST_BASELINE
from geofm.scenes.products import Layer, Product, base_name
from geofm.scenes.quality import SCL
from geofm.scenes.sentinel2 import PIXELS

_SCALE, _NODATA, _SATURATED = 1e-4, 0.0, 65_535.0
_BASELINE = re.compile(r"_N(\d\d\.\d\d)$")
_METADATA = "metadata.xml"


def find_tile(path: str) -> str | None:
    """The ``metadata.xml`` of a tile's folder, or None if there is no such tile."""
    if base_name(path) == _METADATA:
        return path
    folder = Path(path)
    if is_remote(path) or not (folder / _METADATA).is_file():
        return None
    known = (folder / "B02.jp2", folder / "R10m", folder / "R20m")
    return str(folder / _METADATA) if any(one.exists() for one in known) else None


def read_tile(metadata: str) -> Product:
    """A product from a tile's ``metadata.xml``; images that are not there are left out.

    Raises:
        SceneError: the metadata is damaged, or of something else.
    """
    root, name = read_xml(metadata), plain_name(metadata)
    facts = {e.tag: (e.text or "").strip() for e in root.iter() if e.tag.isupper()}
    tile = facts.get("TILE_ID", "")
    baseline = _BASELINE.search(tile)
    if baseline is None or not facts.get("SENSING_TIME"):
        raise SceneError(
            f"{name} states no Sentinel-2 tile with a processing baseline; needed a tile's "
            "metadata.xml; give the SAFE product, or a STAC item"
        )
    level: Level = "surface" if "_L2A_" in tile else "toa"
    plain, _, query = metadata.partition("?") if is_remote(metadata) else (metadata, "", "")
    folder = plain.replace("\\", "/").rpartition("/")[0]

    def image(code: str, pixel: float) -> str:
        part = f"R{pixel:.0f}m/" if level == "surface" else ""
        return f"{folder}/{part}{code}.jp2" + (f"?{query}" if query else "")

    offset = AGENCY_OFFSET if float(baseline[1]) >= FIRST_BASELINE else 0.0
    layers = [
        Layer(
            image(band.code, pixel), band.name, _SCALE, offset, _NODATA, pixel, saturated=_SATURATED
        )
        for band in SENTINEL_2.bands
        for pixel in _sizes(band.code, level)
        if _may_exist(image(band.code, pixel))
    ]
    scl = image("SCL", 20)
    return Product(
        id=tile,
        sensor=SENTINEL_2,
        date=date.fromisoformat(facts["SENSING_TIME"][:10]),
        level=level,
        layers=tuple(layers),
        quality=((scl, SCL),) if level == "surface" and _may_exist(scl) else (),
    )


def _sizes(code: str, level: Level) -> tuple[float, ...]:
    """Pixel sizes that a band comes in, metres: L2A repeats bands in coarser ones."""
    own = PIXELS.get(code, 10.0)
    if level == "toa":
        return (own,)
    if code == "B10":  # L2A has no cirrus
        return ()
    coarser = {10.0: (10.0, 20.0), 20.0: (20.0,), 60.0: (60.0,)}
    return coarser[own] if code != "B08" else (10.0,)


def _may_exist(path: str) -> bool:
    """A server is not asked: what it lacks is found out when it is opened."""
    return is_remote(path) or Path(path).is_file()
