"""The maps of a folder as one: a STAC collection over their items, and mosaics of them.

STAC 1.1 (https://github.com/radiantearth/stac-spec). The items stay as they were written.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.export.mosaic import MosaicPart, group_parts, mosaic_vrt, write_text
from geofm.tasks import MapClass

COLLECTION = "collection.json"
VRT_TYPE = "application/x-gdal-vrt"
_LAYERS = {"classes": "", "confidence": "percent"}
"""Layers that every map has, with their units."""
_OURS = re.compile(r"(classes|confidence)(_(EPSG\d+|CRS[0-9a-f]{8})(_[\d.e+x-]+)?)?\.vrt")

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FolderIndex:
    """What `write_index` wrote.

    Attributes:
        collection: the STAC collection.
        mosaics: VRTs, those of the classes first.
        apart: names of maps that no mosaic can hold: they are not north up.
    """

    collection: Path
    mosaics: tuple[Path, ...]
    apart: tuple[str, ...]


def write_index(
    folder: Path,
    items: Sequence[Item],
    *,
    classes: Sequence[MapClass],
    description: str,
    licences: Sequence[str] = (),
) -> FolderIndex:
    """Write a STAC collection over a folder's maps, and VRTs over them; each whole.

    Of maps that overlap, the one of the later date lies on top, and of one date that whose
    name comes later.

    Args:
        folder: where the maps and their items lie; older indexes of it are replaced.
        items: the maps' STAC items, one or more.
        classes: of all maps.
        description: of the collection.
        licences: of the model.

    Raises:
        OSError: they cannot be written.
    """
    ordered = sorted(items, key=lambda item: (_times(item)[0] or "", str(item["id"])))
    mosaics, apart = _write_mosaics(folder, ordered, classes)
    collection = _collection(
        folder.resolve().name or "maps",
        sorted(items, key=lambda item: str(item["id"])),
        description=description,
        licences=licences,
        mosaics=mosaics,
    )
    write_text(folder / COLLECTION, json.dumps(collection, indent=2) + "\n")
    return FolderIndex(folder / COLLECTION, tuple(mosaics.values()), apart)


def _write_mosaics(
    folder: Path, items: Sequence[Item], classes: Sequence[MapClass]
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The VRTs by name, and the maps that are in none."""
    written: dict[str, Path] = {}
    held: set[str] = set()
    for layer, unit in _LAYERS.items():
        files = {item["assets"][layer]["href"].removeprefix("./"): item for item in items}
        for group in group_parts([MosaicPart(file, _geobox(files[file])) for file in files]):
            name = f"{layer}_{group.label}" if group.label else layer
            shown = classes if layer == "classes" else ()
            written[name] = folder / f"{name}.vrt"
            write_text(written[name], mosaic_vrt(group.parts, name=layer, classes=shown, unit=unit))
            held |= {str(files[part.file]["id"]) for part in group.parts}
    for path in folder.glob("*.vrt"):  # of an earlier run, when there were other CRSs
        if _OURS.fullmatch(path.name) and path not in written.values():
            path.unlink()
    return written, tuple(str(item["id"]) for item in items if str(item["id"]) not in held)


def _geobox(item: Item) -> GeoBox:
    properties = item["properties"]
    crs = properties.get("proj:code") or properties.get("proj:wkt2")
    return GeoBox(properties["proj:shape"], Affine(*properties["proj:transform"][:6]), crs)


def _collection(
    name: str,
    items: Sequence[Item],
    *,
    description: str,
    licences: Sequence[str],
    mosaics: Mapping[str, Path],
) -> dict[str, object]:
    known = sorted(set(licences))
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "description": description,
        "license": known[0] if len(known) == 1 else "other",
        "extent": {
            "spatial": {"bbox": [_around([item["bbox"] for item in items])]},
            "temporal": {"interval": [_span(items)]},
        },
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{item['id']}.json", "type": "application/geo+json"}
                for item in items
            ),
        ],
        "assets": {
            role: {
                "href": f"./{path.name}",
                "type": VRT_TYPE,
                "title": f"All maps as one: {role}",
                "roles": ["data"] if role.startswith("classes") else ["metadata"],
            }
            for role, path in mosaics.items()
        },
    }


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """West, south, east, north of all; all longitudes where one crosses the antimeridian."""
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if any(box[0] > box[2] for box in boxes):
        return [-180.0, south, 180.0, north]
    return [min(box[0] for box in boxes), south, max(box[2] for box in boxes), north]


def _span(items: Sequence[Item]) -> list[str | None]:
    """First and last time; open where no map tells one."""
    begins = [first for first, _ in map(_times, items) if first]
    ends = [last for _, last in map(_times, items) if last]
    return [min(begins, default=None), max(ends, default=None)]


def _times(item: Item) -> tuple[str | None, str | None]:
    properties = item["properties"]
    if properties.get("datetime"):
        return properties["datetime"], properties["datetime"]
    first, last = properties.get("start_datetime"), properties.get("end_datetime")
    # A map whose scene tells no date has an item that is open on both sides.
    return (None, None) if first == "1970-01-01T00:00:00Z" else (first, last)


def read_items(folder: Path, *, sha256: str) -> Iterator[dict[str, Any]]:
    """The STAC items of a folder's finished maps that one model made, by name.

    Args:
        sha256: of the model's weights.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            item = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        match item:
            case {
                "properties": {"geofm:receipt": {"model": {"sha256": str(found)}}},
                "assets": {"classes": {"href": str(href)}},
            } if found == sha256 and (folder / href).exists():
                yield item
