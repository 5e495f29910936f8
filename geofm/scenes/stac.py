"""STAC items, item collections and collections as products.

Bands by ``eo:bands``, ``bands`` (STAC 1.1), ``raster:bands`` or the asset's name.
https://github.com/radiantearth/stac-spec, extensions eo, raster, projection.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from geofm.bands import (
    HLS_L30,
    HLS_S30,
    LANDSAT_4_7,
    LANDSAT_8_9,
    SENTINEL_2,
    Level,
    Sensor,
    parse_band,
)
from geofm.errors import SceneError
from geofm.scenes.handles import is_remote, plain_name
from geofm.scenes.metadata import read_json
from geofm.scenes.offsets import sentinel2_offset
from geofm.scenes.products import Layer, Product, base_name, is_reflectance
from geofm.scenes.quality import FMASK, QA_PIXEL, QA_RADSAT_4_7, QA_RADSAT_8_9, SCL, Coding

MAX_ITEMS = 500
"""Items that one scene may stack; a catalogue of more is to be searched first."""

_READERS = 8
"""Threads that read linked items: waiting for a server takes no processor."""

Item = Mapping[str, Any]
Sign = Callable[[str], str]

_NO_DATA_ROLES = {"thumbnail", "overview", "visual", "metadata", "graphic"}
_PICTURES = ("visual", "thumbnail", "overview", "preview", "rendered_preview", "tci")
# What agencies store where an item does not say: scale, offset, fill.
_STORED: Mapping[str, tuple[float, float, float]] = {
    "sentinel-2": (1e-4, 0.0, 0.0),
    "hls-s30": (1e-4, 0.0, -9999.0),
    "hls-l30": (1e-4, 0.0, -9999.0),
    "landsat-8-9": (2.75e-5, -0.2, 0.0),
    "landsat-4-7": (2.75e-5, -0.2, 0.0),
}


def find_items(source: Any, sign: Sign | None = None) -> list[Product] | None:
    """The products that a catalogue object, file or address holds; None if it is none.

    Args:
        source: a dict, a pystac object, a path or address of JSON, or a list of these.
        sign: address of an asset -> the address with a token.

    Raises:
        SceneError: the collection is empty or too large, or JSON is no STAC.
    """
    sources = source if isinstance(source, list | tuple) else [source]
    if not sources or not all(map(is_catalogue, sources)):
        return None
    items = [item for one in sources for item in _items(*_load(one))]
    if not items:
        raise SceneError(
            "the collection holds no item; needed one or more; widen the search, or check the path"
        )
    if len(items) > MAX_ITEMS:
        raise SceneError(
            f"the collection holds more than {MAX_ITEMS} items; needed the dates of one place; "
            "search it first (pystac-client: bbox, datetime)"
        )
    return [read_item(item, base, sign) for item, base in items]


def list_items(source: str) -> list[Item]:
    """Each item of a collection, by itself; items and catalogues that it links to are read.

    Args:
        source: a path or address of an item, item collection, collection or catalogue.

    Returns:
        Items whose assets have absolute addresses; any number.

    Raises:
        SceneError: a file cannot be read or is no STAC, or it is a search server's.
    """
    seen: set[str] = set()
    return [_with_addresses(*one) for one in _walk(source, seen)]


def _walk(source: str, seen: set[str]) -> Iterator[tuple[Item, str]]:
    """Items with where their addresses start, from a catalogue and the catalogues below it."""
    if source in seen:
        return
    seen.add(source)
    found = read_json(source)
    if found.get("type") not in {"Collection", "Catalog"}:
        yield from _items(found, source)
        return
    _check_static(found)
    items = _linked(found, source, "item")
    with ThreadPoolExecutor(_READERS) as readers:
        yield from zip(readers.map(read_json, items), items, strict=True)
    for child in _linked(found, source, "child"):
        yield from _walk(child, seen)


def _linked(found: Item, base: str, rel: str) -> list[str]:
    links = found.get("links", [])
    return [_resolved(link["href"], base) for link in links if link.get("rel") == rel]


def _check_static(found: Item) -> None:
    """Refuse a collection of a search server, whose items are no files."""
    rels = {link.get("rel") for link in found.get("links", [])}
    if "items" in rels and not rels & {"item", "child"}:
        raise SceneError(
            f"{found.get('id')} is a collection of a search server; needed items of one "
            "place; search it first (pystac-client: bbox, datetime)"
        )


def _with_addresses(item: Item, base: str) -> Item:
    """The item, wherever it is taken."""
    assets = {
        key: {**asset, "href": _resolved(asset["href"], base)} if "href" in asset else asset
        for key, asset in dict(item.get("assets") or {}).items()
    }
    return {**item, "assets": assets}


def is_catalogue(source: Any) -> bool:
    """Whether a path, address or object is of a STAC catalogue, by its name or kind."""
    if isinstance(source, Mapping):
        return True
    if isinstance(source, str | Path):
        text = str(source).partition("?")[0]
        known = text.lower().endswith((".json", ".geojson"))
        address = is_remote(text) and ("/items" in text or "/collections/" in text)
        # USGS writes both STAC items and MTLs as JSON.
        return (known and "_MTL." not in text) or (address and "." not in base_name(text))
    return type(source).__module__.partition(".")[0] in {"pystac", "pystac_client", "pystac_core"}


def _load(source: Any) -> tuple[Item, str]:
    """The JSON object, and the address that its links start from."""
    if isinstance(source, str | Path):
        return read_json(str(source)), str(source)
    if not isinstance(source, Mapping):
        source = source.to_dict(transform_hrefs=False) if _has_links(source) else source.to_dict()
    links = source.get("links", [])
    return source, next((link["href"] for link in links if link.get("rel") == "self"), "")


def _has_links(source: Any) -> bool:
    return hasattr(source, "links")


def _items(found: Item, base: str) -> Iterator[tuple[Item, str]]:
    """The items in an object, and where their relative addresses start."""
    match found.get("type"):
        case "Feature":
            yield found, base
        case "FeatureCollection":
            for item in found.get("features", []):
                own = [link["href"] for link in item.get("links", []) if link.get("rel") == "self"]
                yield item, own[0] if own else base
        case "Collection" | "Catalog":
            _check_static(found)
            for address in _linked(found, base, "item")[: MAX_ITEMS + 1]:
                yield read_json(address), address
        case other:
            raise SceneError(
                f"{plain_name(base) or 'the object'} is JSON of type {other!r}; needed a STAC "
                "item, item collection or collection"
            )


@dataclass(frozen=True, slots=True)
class _BandFacts:
    """What an item says of one band of one asset."""

    name: str
    index: int
    scale: float | None
    offset: float | None
    nodata: float | None
    pixel: float | None


def read_item(item: Item, base: str = "", sign: Sign | None = None) -> Product:
    """A product from an item.

    Args:
        base: where relative addresses start: the item's own path or address.

    Raises:
        SceneError: it is no item.
    """
    if not isinstance(item.get("assets"), Mapping):
        raise SceneError(f"{item.get('id', 'the item')} has no assets; needed a STAC item")
    sensor = _sensor(item)
    layers, problems = [], []
    for key, asset in _data_assets(item):
        for band in _band_facts(key, asset, sensor):
            scale, offset, nodata = _STORED.get(sensor.name, (None, 0.0, None))
            chosen = offset if band.offset is None else band.offset
            if sensor is SENTINEL_2:
                chosen, problem = sentinel2_offset(item, band.offset)
                problems.append(problem)
            layers.append(
                Layer(
                    path=_signed(_resolved(asset["href"], base), sign),
                    band=band.name,
                    scale=scale if band.scale is None else band.scale,
                    offset=chosen,
                    nodata=nodata if band.nodata is None else band.nodata,
                    pixel=band.pixel,
                    index=band.index,
                )
            )
    return Product(
        id=str(item.get("id", "item")),
        sensor=sensor,
        date=_date(item),
        level=_level(item, sensor),
        layers=_one_each(layers),
        quality=tuple(
            (_signed(_resolved(asset["href"], base), sign), coding)
            for asset, coding in _quality(item, sensor)
        ),
        conflict=next((p.text for p in problems if p and p.refuse), ""),
        doubtful=any(p and not p.refuse for p in problems),
    )


def _one_each(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """One layer a band and pixel size: catalogues offer COG and JP2 of the same pixels."""
    ranked = sorted(layers, key=lambda layer: base_name(layer.path).lower().endswith(".jp2"))
    best: dict[tuple[str, float | None], Layer] = {}
    for layer in ranked:
        if not layer.path.lower().partition("?")[0].endswith(".jp2") or not any(
            band == layer.band for band, _ in best
        ):
            best.setdefault((layer.band, layer.pixel), layer)
    kept = set(best.values())
    return tuple(layer for layer in layers if layer in kept)


def _data_assets(item: Item) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Assets of pixels; those of one band before those of several."""
    assets = [
        (key, asset)
        for key, asset in item["assets"].items()
        if not _NO_DATA_ROLES & set(asset.get("roles") or ())
        and not key.lower().startswith(_PICTURES)
        and "href" in asset
        and "json" not in str(asset.get("type", ""))
        and "xml" not in str(asset.get("type", ""))
    ]
    yield from sorted(assets, key=lambda pair: len(_described(pair[1])) > 1)


def _described(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an asset says of its bands, extensions and STAC 1.1 in one.

    A field of the asset holds for all its bands.
    """
    lists = [asset.get(name) or [] for name in ("bands", "eo:bands", "raster:bands")]
    count = max(len(one) for one in lists)
    shared = {key: asset[key] for key in _BAND_FIELDS if key in asset}
    return [
        shared | {k: v for one in lists if at < len(one) for k, v in one[at].items()}
        for at in range(count)
    ]


_BAND_FIELDS = ("nodata", "raster:scale", "raster:offset", "eo:common_name")


def _band_facts(key: str, asset: Mapping[str, Any], sensor: Sensor) -> Iterator[_BandFacts]:
    described = _described(asset) or [{}]
    for at, said in enumerate(described, start=1):
        texts = [said.get("name"), key if len(described) == 1 else None]
        common = said.get("eo:common_name") or said.get("common_name")
        # A code tells red edges apart, which the common name of old items does not.
        names = [parse_band(str(text), sensor) for text in (*texts, common) if text]
        name = next((name for name in names if name), None)
        if name is not None and is_reflectance(name):
            yield _BandFacts(
                name=name,
                index=at,
                scale=_number(said, "raster:scale", "scale"),
                offset=_number(said, "raster:offset", "offset"),
                nodata=_number(said, "nodata"),
                pixel=_pixel(asset, said),
            )


def _number(said: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        try:
            return float(said[name])  # nodata may be the text "nan"
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _pixel(asset: Mapping[str, Any], said: Mapping[str, Any]) -> float | None:
    transform = asset.get("proj:transform")
    if transform:
        return abs(float(transform[0]))
    return _number({**asset, **said}, "raster:spatial_resolution", "spatial_resolution", "gsd")


def _quality(item: Item, sensor: Sensor) -> Iterator[tuple[Mapping[str, Any], Coding]]:
    saturation = QA_RADSAT_4_7 if sensor is LANDSAT_4_7 else QA_RADSAT_8_9
    known = {"scl": SCL, "fmask": FMASK, "qa_pixel": QA_PIXEL, "qa_radsat": saturation}
    for key, asset in item["assets"].items():
        if key.lower() in known and "href" in asset:
            yield asset, known[key.lower()]


def _sensor(item: Item) -> Sensor:
    properties = item.get("properties", {})
    collection = str(item.get("collection") or item.get("id", "")).lower()
    platform = str(properties.get("platform") or properties.get("constellation") or "").lower()
    if "hls" in collection:
        return HLS_S30 if "s30" in collection else HLS_L30
    if platform.startswith("sentinel-2") or collection.startswith("sentinel-2"):
        return SENTINEL_2
    if platform.startswith("landsat"):
        return LANDSAT_8_9 if platform[-1:] in {"8", "9"} else LANDSAT_4_7
    return Sensor(platform or collection or "unknown", ())


def _level(item: Item, sensor: Sensor) -> Level:
    properties = item.get("properties", {})
    if sensor in {HLS_S30, HLS_L30}:
        return "surface"
    texts = (
        properties.get("processing:level"), properties.get("landsat:correction"),
        item.get("collection"), item.get("id"),
    )  # fmt: skip
    for text in (str(text).lower() for text in texts if text):
        if any(word in text for word in ("l2a", "l2sp", "l2sr", "c2-l2", "c2l2-sr")):
            return "surface"
        if "l1c" in text:
            return "toa"
    return "unknown"


def _date(item: Item) -> date | None:
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    return date.fromisoformat(str(text)[:10]) if text else None


def _resolved(href: str, base: str) -> str:
    """An address or path, absolute where ``base`` tells."""
    if is_remote(href) or Path(href).is_absolute() or not base:
        return href
    if base.startswith(("http://", "https://")):
        return urljoin(base, href)
    if is_remote(base):
        scheme, _, rest = base.partition("://")
        return f"{scheme}://" + urljoin(f"//{rest}", href).lstrip("/")
    return str((Path(base).parent / href).absolute())


def _signed(address: str, sign: Sign | None) -> str:
    return sign(address) if sign and is_remote(address) else address
