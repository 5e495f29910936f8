"""The page of a product, a catalogue item or an array: what `open_scene` makes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geofm.info.rasters import MAX_BANDS_SHOWN, columns, place_rows, wants
from geofm.page import Page, Row
from geofm.scenes.arrayfiles import is_array_file
from geofm.scenes.discover import is_product
from geofm.scenes.handles import plain_name
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene
from geofm.scenes.stac import is_catalogue


def is_more_than_a_raster(path: str) -> bool:
    """Whether a path is a product, a catalogue item, or an array on disk."""
    single = Path(path).suffix.lower() in {".tif", ".tiff", ".jp2", ".vrt"}
    return is_array_file(path) or is_catalogue(path) or (not single and is_product(path))


def product_page(path: str | Path, reading: dict[str, Any]) -> Page:
    """The page of a scene that is no single raster.

    Raises:
        GeofmError: `open_scene` refuses it.
    """
    scene = open_scene(path, **reading)
    missing = "; ".join(wants(scene))
    rows = (*_rows(scene), *place_rows(scene.geobox), *_band_rows(scene))
    return Page("scene", plain_name(str(path)), rows, _facts(path, scene, missing), missing)


def _rows(scene: Scene) -> Iterator[Row]:
    height, width = scene.shape
    yield Row("scene", scene.id)
    yield Row("bands", ", ".join(scene.bands))
    yield Row("dates", _dates(scene))
    yield Row("values", scene.units)
    yield Row("quality", scene.quality_text)
    yield Row("size", f"{height:,} rows x {width:,} columns")
    rows, cols = scene.block_shape
    yield Row("stored", f"{scene.dtype}, blocks of {rows} x {cols}")


def _dates(scene: Scene) -> str:
    days = [str(day) if day else "unknown" for day in scene.dates]
    if len(days) <= 6:
        return ", ".join(days)
    return f"{len(days)} from {days[0]} to {days[-1]}"


def _band_rows(scene: Scene) -> Iterator[Row]:
    yield Row("", columns(["name", "scale", "offset"]))
    for at, name in enumerate(scene.bands[:MAX_BANDS_SHOWN]):
        factors = (scene.scale[:, at], scene.offset[:, at])
        yield Row(f"band {at + 1}", columns([name, *(_by_date(one) for one in factors)]))


def _by_date(factors: Any) -> str:
    """One number, or those that dates have."""
    return " or ".join(f"{number:g}" for number in np.unique(factors))


def _facts(path: str | Path, scene: Scene, missing: str) -> dict[str, Any]:
    crs, outline = scene.geobox.crs, scene.footprint
    return {
        "kind": "scene",
        "path": plain_name(str(path)),
        "id": scene.id,
        "bands": list(scene.bands),
        "dates": [day.isoformat() if day else None for day in scene.dates],
        "level": scene.level,
        "scale": scene.scale.tolist(),
        "offset": scene.offset.tolist(),
        "shape": list(scene.shape),
        "crs": None if crs is None else (f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()),
        "transform": list(scene.geobox.affine[:6]),
        "bounds": None if outline is None or outline.is_empty else list(outline.bounds),
        "resolution": scene.resolution,
        "dtype": str(scene.dtype),
        "block_shape": list(scene.block_shape),
        "quality": scene.quality.name if scene.quality else None,
        "quality_classes": list(scene.quality.classes) if scene.quality else [],
        "files": list(scene.paths),
        "missing": missing or None,
    }
