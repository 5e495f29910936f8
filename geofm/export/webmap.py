"""A scene and its map as one HTML page that pans and zooms, offline: no other file, no network.

Scene and map are laid out in spherical Mercator (EPSG:3857), as web maps are. The page holds the
scene as JPEG, and classes, confidence and validity as one PNG, whose numbers its script reads: so
the map fades, a class can be hidden, and each pixel tells what it is.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from geofm.errors import OutputError
from geofm.export.places import check_new_file
from geofm.scenes.mercator import MercatorGrid, mercator_grid, source_places
from geofm.scenes.picture import colours, composite, pick, pick_codes, stretch, thin_places
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import CODE_COLORS, CODE_NAMES, NODATA, MapClass

SIDE = 1600
"""Pixels of the longer side, at most."""
MOST_BYTES = 4 * 2**20
"""Of the page; larger ones are thinned."""
SUFFIXES = (".html", ".htm")

_LEAST_SIDE = 256

Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Read = Callable[[Window], Codes]


def check_page_output(out: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot be made, before any work is done.

    Raises:
        OutputError: another kind of file, a folder, or one that exists.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"the page {out.name} is no HTML name; give one that ends in .html")
    check_new_file(out, overwrite=overwrite)


def web_page(
    scene: Scene,
    classes: Mapping[int, MapClass],
    codes: Read,
    confidence: Read | None = None,
    *,
    title: str,
    most_bytes: int = MOST_BYTES,
) -> str:
    """The page of a scene and its map.

    Args:
        scene: on the map's grid; its last date is shown.
        classes: by code.
        codes: classes and codes of a window, (height, width) uint8.
        confidence: percent of a window, 255 without data.
        title: of the page.
        most_bytes: the pictures are thinned until the page is no larger.

    Raises:
        GridError: the grid has no place on a web map.
        SceneError: the scene cannot be read.
    """
    grid = mercator_grid(scene.geobox, SIDE)
    places = source_places(scene.geobox, grid)
    bands, name = composite(scene.bands)
    values, valid = pick(scene.select(bands=bands, dates=[len(scene.dates) - 1]), *places)
    image = colours(values, stretch(values, valid))[0]
    image[~valid[0]] = 1
    layers = _Layers(
        picture=np.rint(255 * image).astype(np.uint8),
        codes=pick_codes(codes, scene.shape, *places),
        confidence=None if confidence is None else pick_codes(confidence, scene.shape, *places),
        valid=valid[0],
    )
    said = {
        "TITLE": escape(title),
        "SUBTITLE": escape(
            "  ·  ".join(filter(None, (scene.id, str(scene.dates[-1] or ""), name)))
        ),
    }
    facts = _facts(grid, layers, classes)
    side = max(grid.height, grid.width)
    while True:
        rows, cols = thin_places((grid.height, grid.width), side)
        page = _filled(said, _thinned(facts, grid, rows, cols), layers.at(rows, cols))
        if len(page) <= most_bytes or side <= _LEAST_SIDE:
            return page
        side = max(int(side * min(0.9, 0.95 * (most_bytes / len(page)) ** 0.5)), _LEAST_SIDE)


def write_web_page(page: str, out: Path) -> Path:
    """Write a page beside ``out``; the caller moves it into place.

    Raises:
        OutputError: it cannot be written.
    """
    part = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {out} ({error.strerror}); free some space or choose another folder"
        ) from error
    return part


@dataclass(frozen=True, slots=True)
class _Layers:
    """What the page holds, each (h, w) of one grid, the picture (h, w, 3)."""

    picture: Codes
    codes: Codes
    confidence: Codes | None
    valid: npt.NDArray[np.bool_]

    def at(self, rows: Ints, cols: Ints) -> "_Layers":
        """Some of the pixels."""
        sure = self.confidence
        return _Layers(
            picture=self.picture[rows, cols],
            codes=self.codes[rows, cols],
            confidence=None if sure is None else sure[rows, cols],
            valid=self.valid[rows, cols],
        )


def _facts(grid: MercatorGrid, layers: _Layers, classes: Mapping[int, MapClass]) -> dict[str, Any]:
    """What the page's script reads beside the pixels."""
    # A pixel's ground shrinks with the square of Mercator's stretch.
    weights = np.cos(np.radians(grid.latitudes())) ** 2
    counts = np.zeros(256)
    for row, weight in zip(layers.codes, weights, strict=True):
        counts += np.bincount(row, minlength=256) * weight
    mapped = max(counts.sum() - counts[NODATA], 1e-9)
    kinds = {code: (kind.name, kind.color) for code, kind in classes.items()}
    kinds |= {code: (CODE_NAMES[code], CODE_COLORS[code]) for code in CODE_NAMES if counts[code]}
    kinds.pop(NODATA, None)  # it is shown as nothing at all
    sure = layers.confidence
    told = None if sure is None else sure[sure <= 100]
    return {
        "classes": [
            {
                "code": code,
                "name": name,
                "html": escape(name),
                "color": color,
                "share": counts[code] / mapped,
            }
            for code, (name, color) in kinds.items()
        ],
        "confidence": told is not None and told.size > 0,
        "least": 0 if told is None or not told.size else min(int(np.percentile(told, 1)), 99),
        "left": grid.left,
        "top": grid.top,
    }


def _thinned(
    facts: Mapping[str, Any], grid: MercatorGrid, rows: Ints, cols: Ints
) -> dict[str, Any]:
    """The facts for fewer pixels of the same extent."""
    height, width = rows.size, cols.size
    return {
        **facts,
        "height": height,
        "width": width,
        "across": grid.step * grid.width / width,
        "down": grid.step * grid.height / height,
    }


def _filled(said: Mapping[str, str], facts: Mapping[str, Any], layers: _Layers) -> str:
    """The template with everything in its places."""
    nothing = np.full(layers.codes.shape, NODATA, np.uint8)
    sure = nothing if layers.confidence is None else layers.confidence
    seen = np.where(layers.valid, np.uint8(255), np.uint8(0))
    numbers = np.stack([layers.codes, sure, seen], axis=2)
    parts = {
        **said,
        # A class may be called </script>.
        "FACTS": json.dumps(facts).replace("<", "\\u003c"),
        "PICTURE": _address(layers.picture, "jpeg", quality=82, optimize=True),
        "NUMBERS": _address(numbers, "png", compress_level=6),
    }
    template = files("geofm.export").joinpath("webmap.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], template)


def _address(pixels: Codes, kind: str, **options: Any) -> str:
    """A picture as an address that holds it."""
    memory = BytesIO()
    Image.fromarray(pixels).save(memory, kind, **options)
    return f"data:image/{kind};base64,{b64encode(memory.getvalue()).decode()}"
