"""An area: the windows of a scene that may be read, and nothing outside them.

Statistics, pretraining and fine-tuning see scenes only through areas, so that
test pixels, which lie in no training area, cannot reach a model.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import shapely

from geofm.errors import TilingError
from geofm.scenes.ground import crop
from geofm.scenes.ground import footprint as ground_footprint
from geofm.scenes.labels import Labels
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window


@dataclass(frozen=True)
class Area:
    """A scene and the windows of it that may be read.

    Attributes:
        scene: bands, dates, pixels.
        windows: disjoint, not empty, inside the scene's grid.
        labels: class codes on the scene's grid; None where there are none.

    Raises:
        TilingError: no window, or one reaches outside the scene.
    """

    scene: Scene
    windows: tuple[Window, ...]
    labels: Labels | None = None

    def __post_init__(self) -> None:
        height, width = self.scene.shape
        if not self.windows:
            raise TilingError(f"{self.scene.id}: no window may be read; name one or more")
        for window in self.windows:
            if window.clip(height, width) != window or min(window.height, window.width) < 1:
                raise TilingError(
                    f"{self.scene.id}: {window} reaches outside its {height} x {width} px; "
                    "clip the windows to the scene"
                )


def areas_of(
    scenes: Sequence[Scene],
    windows: Sequence[Sequence[Window]] | None,
    labels: Sequence[Labels] | None = None,
) -> list[Area]:
    """One area a scene: its ``windows``, or all of it where ``windows`` is None.

    Raises:
        TilingError: not one list of windows (and one of labels) a scene.
    """
    if windows is not None and len(windows) != len(scenes):
        raise TilingError(
            f"{len(windows)} lists of windows for {len(scenes)} scenes; give one list a scene"
        )
    if labels is not None and len(labels) != len(scenes):
        raise TilingError(f"{len(labels)} labels for {len(scenes)} scenes; give one a scene")
    return [
        Area(
            scene,
            (Window(0, 0, *scene.shape),) if windows is None else tuple(windows[i]),
            None if labels is None else labels[i],
        )
        for i, scene in enumerate(scenes)
    ]


STEP = 1e-6
"""Corners of footprints are rounded to this, degrees: a tenth of a metre."""


def footprint(areas: Sequence[Area]) -> dict[str, Any] | None:
    """What the areas cover on Earth: a GeoJSON geometry, longitude and latitude (RFC 7946).

    None where no scene has a CRS.
    """
    outlines = [
        shapely.simplify(outline, STEP)
        for area in areas
        for window in area.windows
        if (outline := ground_footprint(crop(area.scene.geobox, window))) is not None
    ]
    if not outlines:
        return None
    whole = shapely.union_all(outlines, grid_size=STEP)
    geometry: dict[str, Any] = json.loads(shapely.to_geojson(shapely.simplify(whole, STEP)))
    return geometry


def cells(window: Window, *, size: int) -> Iterator[Window]:
    """Cut a window along the lines of a grid of ``size`` px: exact, without overlap.

    >>> [(c.col, c.width) for c in cells(Window(0, 3, 1, 6), size=4)]
    [(3, 1), (4, 4), (8, 1)]
    """
    for row in range(window.row - window.row % size, window.stop_row, size):
        for col in range(window.col - window.col % size, window.stop_col, size):
            yield intersection(Window(row, col, size, size), window)


def intersection(a: Window, b: Window) -> Window:
    """The part that two windows share; empty sides are 0."""
    row, col = max(a.row, b.row), max(a.col, b.col)
    height = min(a.stop_row, b.stop_row) - row
    width = min(a.stop_col, b.stop_col) - col
    return Window(row, col, max(height, 0), max(width, 0))
