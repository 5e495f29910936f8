"""Scenes and models as a notebook shows them: a small card in HTML, no scripts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.html import png_address
from geofm.errors import GeofmError
from geofm.info.models import model_rows, provenance_rows
from geofm.info.page import Row
from geofm.model.folder import TrainedModel
from geofm.scenes.arrays import ArraySource
from geofm.scenes.ground import crop
from geofm.scenes.handles import is_remote
from geofm.scenes.picture import scene_images, thin_places
from geofm.scenes.reader import Scene, Source, StoredPixels
from geofm.scenes.window import Window

Rgb = npt.NDArray[np.uint8]

SIDE = 240  # of a thumbnail, pixels
# A scene of more pixels shows its middle: a card is drawn each time a cell ends.
MAX_PIXELS = 4096 * 4096
MIDDLE = 1024


def scene_html(scene: Scene) -> str:
    """A scene's summary beside a thumbnail.

    There is none where reading could take long: over the network, or where Dask has to
    compute it first.
    """
    lines = repr(scene).splitlines()[1:]
    rows = [Row(line[2:10].strip(), line[10:]) for line in lines]
    return _card("scene", scene.id, rows, _thumbnail(scene))


def model_html(model: TrainedModel) -> str:
    """A model's contract: what it maps, what it needs, where it comes from."""
    rows = [*model_rows(model), *provenance_rows(model.provenance)]
    return _card("model", model.name, rows, "")


def _card(kind: str, name: str, rows: Iterable[Row], picture: str) -> str:
    """Label and text in two columns; colours are the page's own, so dark themes work."""
    cells = []
    for row in rows:
        swatch = (
            f'<span style="display:inline-block;width:.8em;height:.8em;margin-right:.5em;'
            f"vertical-align:-.05em;border:1px solid rgba(128,128,128,.6);border-radius:2px;"
            f'background:{escape(row.color)}"></span>'
            if row.color
            else ""
        )
        # A terminal's columns are runs of spaces; here they become columns again.
        first, *more = re.split(r"\s{2,}", row.text.strip(), maxsplit=1)
        text = escape(first)
        if more:
            width = "1.4em" if row.color else "5em"
            text = (
                f'<span style="display:inline-block;min-width:{width}">{text}</span>'
                f"{escape(more[0])}"
            )
        cells.append(f'<div style="opacity:.6">{escape(row.label)}</div><div>{swatch}{text}</div>')
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;'
        'font:13px/1.45 system-ui,sans-serif;max-width:860px">'
        f"{picture}"
        '<div style="flex:1 1 360px;min-width:0">'
        f'<div style="margin-bottom:6px"><span style="opacity:.6">{kind}</span> '
        f"<b>{escape(name)}</b></div>"
        '<div style="display:grid;grid-template-columns:max-content 1fr;column-gap:14px;'
        f'font-variant-numeric:tabular-nums;overflow-wrap:anywhere">{"".join(cells)}</div>'
        "</div></div>"
    )


def _thumbnail(scene: Scene) -> str:
    if not _quick(scene):
        return ""
    height, width = scene.shape
    words = []
    if height * width > MAX_PIXELS:
        scene, words = _middle(scene), ["the middle"]
    last = scene.select(dates=[len(scene.dates) - 1])
    try:
        images, colours = scene_images(last, *thin_places(scene.shape, SIDE))
    except GeofmError:  # reading says why; a card does not fail
        return ""
    return _figure(np.rint(255 * images[0]).astype(np.uint8), ", ".join([colours, *words]))


def _figure(image: Rgb, caption: str) -> str:
    # A scene of few pixels is enlarged, so that there is something to see.
    shown = "width" if image.shape[1] >= image.shape[0] else "height"
    return (
        f'<figure style="margin:0;flex:none;width:{SIDE}px">'
        f'<img alt="{escape(caption)}" src="{png_address(image)}" '
        f'style="{shown}:{SIDE}px;display:block;image-rendering:pixelated">'
        f'<figcaption style="opacity:.6;font-size:12px">{escape(caption)}</figcaption></figure>'
    )


def _quick(scene: Scene) -> bool:
    if scene.paths:
        return not any(is_remote(path) for path in scene.paths)
    source = scene.source
    return isinstance(source, ArraySource) and source.data["0"].chunks is None


def _middle(scene: Scene) -> Scene:
    height, width = scene.shape
    rows, cols = min(MIDDLE, height), min(MIDDLE, width)
    window = Window((height - rows) // 2, (width - cols) // 2, rows, cols)
    source = _Cut(scene.source, window)
    return replace(scene, geobox=crop(scene.geobox, window), source=source, quality=None)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A window of another source."""

    whole: Source
    window: Window

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    @property
    def block_shape(self) -> tuple[int, int]:
        return self.whole.block_shape

    @property
    def identity(self) -> str:
        return repr((self.whole.identity, self.window))

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        there = window._replace(row=window.row + self.window.row, col=window.col + self.window.col)
        return self.whole.read(there, dates, bands)
