"""A map's STAC item: where and when it is, what its files hold, and its receipt; read back too.

STAC 1.1 (https://github.com/radiantearth/stac-spec) with the projection,
classification and processing extensions. Nothing in it depends on the clock, so the
same recipe gives the same item.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

import geofm
from geofm.tasks import CODE_COLORS, CODE_NAMES, MapClass

EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
_OUTLINE = 1e-6
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def map_item(
    name: str,
    *,
    geobox: GeoBox,
    footprint: BaseGeometry,
    dates: Sequence[date | None],
    classes: Sequence[MapClass],
    files: Mapping[str, Path],
    receipt: Mapping[str, object],
) -> dict[str, object]:
    """Describe a map as a STAC item, a plain dict.

    Args:
        name: the item's id.
        geobox: grid of the map, with a CRS.
        footprint: longitude and latitude.
        dates: of the scene; None where unknown.
        files: by role: ``classes``, ``confidence`` and maybe ``probabilities``.
        receipt: how the map was made; it goes under ``geofm:receipt``.
    """
    # To a tenth of a metre, 1e-6 degrees: as many points as its curved sides need.
    outline = shapely.set_precision(footprint.simplify(_OUTLINE), _OUTLINE)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": name,
        "geometry": mapping(outline),
        "bbox": _bounds(outline),
        "properties": {
            **_times(dates),
            **_projection(geobox),
            "processing:software": {"geofm": geofm.__version__},
            "geofm:receipt": dict(receipt),
        },
        "links": [],
        "assets": {role: _asset(role, path, classes) for role, path in files.items()},
    }


def read_receipt(path: Path) -> dict[str, Any] | None:
    """The receipt in the STAC item beside a map; None where there is none."""
    try:
        item = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    match item:
        case {"properties": {"geofm:receipt": dict(receipt)}}:
            return receipt
    return None


def own_receipt(path: Path, tags: Mapping[str, str]) -> dict[str, Any] | None:
    """The receipt beside a map, if it is of this very map.

    Args:
        tags: of the map, which tell its recipe.
    """
    receipt, recipe = read_receipt(path), tags.get("GEOFM_RECIPE")
    ours = receipt is not None and recipe is not None and receipt.get("recipe_sha256") == recipe
    return receipt if ours else None


def _bounds(outline: BaseGeometry) -> list[float]:
    """West, south, east, north; west lies east of east across the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = outline.bounds
    if outline.geom_type == "MultiPolygon" and (west, east) == (-180, 180):
        parts = [part.bounds for part in outline.geoms]
        west = min(part[0] for part in parts if part[2] == 180)
        east = max(part[2] for part in parts if part[0] == -180)
    return [west, south, east, north]


def _times(dates: Sequence[date | None]) -> dict[str, object]:
    known = sorted(d for d in dates if d is not None)
    if not known:
        # STAC wants a range where there is no time; without dates it is open.
        return {
            "datetime": None,
            "start_datetime": "1970-01-01T00:00:00Z",
            "end_datetime": "9999-12-31T23:59:59Z",
        }
    if len(known) == 1:
        return {"datetime": f"{known[0]}T00:00:00Z"}
    return {
        "datetime": None,
        "start_datetime": f"{known[0]}T00:00:00Z",
        "end_datetime": f"{known[-1]}T23:59:59Z",
    }


def _projection(geobox: GeoBox) -> dict[str, object]:
    assert geobox.crs is not None, "only a georeferenced map is published"
    code = (
        {"proj:code": f"EPSG:{geobox.crs.epsg}"}
        if geobox.crs.epsg
        else {
            "proj:code": None,
            "proj:wkt2": geobox.crs.to_wkt(),
        }
    )
    return {
        **code,
        "proj:shape": list(geobox.shape),
        "proj:transform": [float(v) for v in geobox.transform[:6]],
    }


def _asset(role: str, path: Path, classes: Sequence[MapClass]) -> dict[str, object]:
    asset: dict[str, object] = {
        "href": f"./{path.name}",
        "type": COG_TYPE,
        "roles": ["data"] if role == "classes" else ["metadata"],
        "title": role.capitalize(),
    }
    if role == "classes":
        colors = {code: c.color for code, c in enumerate(classes)} | CODE_COLORS
        names = {code: c.name for code, c in enumerate(classes)} | CODE_NAMES
        asset["classification:classes"] = [
            {
                "value": code,
                "name": "".join(ch if ch.isalnum() else "-" for ch in names[code]),
                "title": names[code],
                "color_hint": colors[code][1:].upper(),
            }
            for code in names
        ]
    return asset
