"""The page of a scene, or of a raster that is none yet, with what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.errors import GeofmError
from geofm.page import Page, Row, bounds_text, bytes_text, counted, json_number
from geofm.scenes.facts import RasterFacts, read_preview
from geofm.scenes.ground import footprint, ground_resolution
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene

PREVIEW_SIDE = 512
MAX_BANDS_SHOWN = 40

Ranges = list[tuple[float, float] | None]
"""Low and high of each band's stored numbers; None where all is nodata."""


def scene_page(path: str | Path, facts: RasterFacts, reading: dict[str, Any]) -> Page:
    """The page of a raster, as a scene where `open_scene` takes it, with ``reading``."""
    try:
        scene, missing = open_scene(path, **reading), ""
    except GeofmError as error:
        scene, missing = None, str(error)
    if scene:
        missing = "; ".join(wants(scene))
    ranges = _value_ranges(path, facts)
    rows = (
        *(_scene_rows(scene) if scene else ()),
        *grid_rows(facts),
        *storage_rows(facts),
        *_band_rows(facts, scene, ranges),
    )
    plain = _scene_facts(facts, scene, ranges, missing)
    return Page("scene" if scene else "raster", facts.path, rows, plain, missing)


def wants(scene: Scene) -> Iterator[str]:
    """What every model will ask for, and the scene does not have."""
    if scene.geobox.crs is None:
        yield "it has no CRS, so nobody knows where it lies; assign one (rio edit-info --crs)"
    if scene.level == "unknown":
        yield "it does not state its level; give level=toa or level=surface"


def _scene_rows(scene: Scene) -> Iterator[Row]:
    yield Row("bands", ", ".join(scene.bands))
    yield Row("dates", ", ".join(str(day) if day else "unknown" for day in scene.dates))
    yield Row("values", scene.units)


def grid_rows(facts: RasterFacts) -> Iterator[Row]:
    """Where a raster lies, and how large its pixels are."""
    box = facts.geobox
    height, width = box.shape
    yield Row("size", f"{height:,} rows x {width:,} columns, {counted(facts.count, 'band')}")
    yield from place_rows(box)


def place_rows(box: GeoBox) -> Iterator[Row]:
    """CRS, pixel and outline of a grid."""
    if box.crs is None:
        yield Row("CRS", "none: not georeferenced")
        return
    name = box.crs.proj.name
    yield Row("CRS", f"EPSG:{box.crs.epsg} ({name})" if box.crs.epsg else name)
    step = " x ".join(f"{abs(length):.6g}" for length in (box.resolution.x, box.resolution.y))
    ground = ground_resolution(box)
    unit = {"metre": "m", "degree": "degrees"}.get(box.crs.units[0], box.crs.units[0])
    yield Row("pixel", f"{step} {unit}, {ground:.4g} m on the ground")
    outline = footprint(box)
    if outline is not None and not outline.is_empty:
        yield Row("bounds", bounds_text(*outline.bounds))


def storage_rows(facts: RasterFacts) -> Iterator[Row]:
    """How its file holds the numbers."""
    rows, cols = facts.block_shape
    smaller = f", overviews 1/{', 1/'.join(map(str, facts.overviews))}" if facts.overviews else ""
    weight = f", {bytes_text(facts.size_bytes)}" if facts.size_bytes is not None else ""
    nodata = "no nodata value" if facts.nodata is None else f"nodata {facts.nodata:g}"
    yield Row("stored", f"{facts.dtype}, {nodata}, {facts.driver}{weight}")
    yield Row("", f"{facts.compression.lower()}, blocks of {rows} x {cols}{smaller}")


def _band_rows(facts: RasterFacts, scene: Scene | None, ranges: Ranges) -> Iterator[Row]:
    factors = _factors(facts, scene)
    head = ["name", "stored (2 to 98 %)", "reflectance"]
    yield Row("", columns(head if factors else head[:2]))
    for index in range(min(facts.count, MAX_BANDS_SHOWN)):
        words = [facts.descriptions[index] or "(unnamed)", _span(ranges[index], "no data")]
        if factors and (found := ranges[index]):
            scale, offset = factors[index]
            words.append(_span((found[0] * scale + offset, found[1] * scale + offset), ""))
        yield Row(f"band {index + 1}", columns(words))
    if facts.count > MAX_BANDS_SHOWN:
        yield Row("", f"and {facts.count - MAX_BANDS_SHOWN} more")


def _factors(facts: RasterFacts, scene: Scene | None) -> list[tuple[float, float]]:
    """Scale and offset of each band; empty where stored numbers are no reflectance yet."""
    if scene is None:
        return []
    if np.ptp(scene.scale) == np.ptp(scene.offset) == 0:
        return [(float(scene.scale[0, 0]), float(scene.offset[0, 0]))] * facts.count
    return list(zip(facts.scales, facts.offsets, strict=True))


def columns(words: list[str]) -> str:
    """Words under those of the rows above."""
    return "".join(word.ljust(20) for word in words).rstrip()


def _span(found: tuple[float, float] | None, otherwise: str) -> str:
    return f"{found[0]:.4g} to {found[1]:.4g}" if found else otherwise


def _value_ranges(path: str | Path, facts: RasterFacts) -> Ranges:
    """The 2nd to the 98th percentile of each band's stored numbers, in a preview."""
    preview = read_preview(path, side=PREVIEW_SIDE // 2, bands=min(facts.count, MAX_BANDS_SHOWN))
    return [_value_range(band, facts.nodata) for band in preview]


def _value_range(band: npt.NDArray[np.generic], nodata: float | None) -> tuple[float, float] | None:
    values = band.astype(np.float64).ravel()
    values = values[np.isfinite(values) & (values != nodata)]
    if not values.size:
        return None
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high)


def _scene_facts(
    facts: RasterFacts,
    scene: Scene | None,
    ranges: Ranges,
    missing: str,
) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": "scene" if scene else "raster",
        **raster_facts(facts),
        "stored_range": ranges,
        "missing": missing or None,
    }
    if scene:
        plain |= {
            "bands": list(scene.bands),
            "dates": [day.isoformat() if day else None for day in scene.dates],
            "level": scene.level,
            "scale": scene.scale.tolist(),
            "offset": scene.offset.tolist(),
        }
    return plain


def raster_facts(facts: RasterFacts) -> dict[str, Any]:
    """The same two, as JSON values."""
    box, outline = facts.geobox, footprint(facts.geobox)
    return {
        "path": facts.path,
        "shape": list(box.shape),
        "count": facts.count,
        "crs": None
        if box.crs is None
        else (f"EPSG:{box.crs.epsg}" if box.crs.epsg else box.crs.to_wkt()),
        "transform": list(box.transform[:6]),
        "bounds": None if outline is None or outline.is_empty else list(outline.bounds),
        "resolution": ground_resolution(box),
        "dtype": facts.dtype,
        "nodata": json_number(facts.nodata),
        "descriptions": list(facts.descriptions),
        "driver": facts.driver,
        "compression": facts.compression,
        "block_shape": list(facts.block_shape),
        "overviews": list(facts.overviews),
        "size_bytes": facts.size_bytes,
        "tags": dict(facts.tags),
    }
