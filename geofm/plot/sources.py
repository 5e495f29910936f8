"""Maps as pictures need them: from a file or a dataset, with names, colours and confidence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from geofm.errors import GridError, SceneError
from geofm.export.flags import flagged_classes
from geofm.plot.ink import COLORS
from geofm.predict.mapping import MapReport
from geofm.predict.publish import output_files
from geofm.scenes.arraygrid import array_grid
from geofm.scenes.coderaster import CodeRaster, Codes, open_codes
from geofm.scenes.facts import read_preview, read_window
from geofm.scenes.reader import Scene
from geofm.scenes.warp import same_grid
from geofm.scenes.window import Window
from geofm.tasks import CODE_COLORS, CODE_NAMES, NODATA, MapClass

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True, eq=False)
class MapPixels:
    """A map to be drawn.

    Attributes:
        title: what it maps.
        geobox: its grid; the CRS may be None.
        classes: by code, without the codes from 253 on.
        codes: (height, width) uint8 of a window.
        confidence: the same in percent, 255 without data; None where there is none.
    """

    title: str
    geobox: GeoBox
    classes: Mapping[int, MapClass]
    codes: Callable[[Window], Codes]
    confidence: Callable[[Window], Codes] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.geobox.shape
        return int(height), int(width)

    @property
    def names(self) -> dict[int, str]:
        """Of classes and codes, by code."""
        return {code: kind.name for code, kind in self.classes.items()} | CODE_NAMES

    @property
    def colors(self) -> dict[int, str]:
        """``#rrggbb`` of classes and codes, by code."""
        return {code: kind.color for code, kind in self.classes.items()} | CODE_COLORS


def open_map(source: "str | Path | MapReport | xr.Dataset") -> MapPixels:
    """Open a map to draw it.

    Args:
        source: path of a raster of class codes, such as `geofm.map_scene` writes; what that
            returned; or the dataset of `geofm.Model.map`.

    Raises:
        SceneError: it is no map, or cannot be read.
    """
    match source:
        case MapReport():
            return _from_file(source.path)
        case str() | Path():
            return _from_file(Path(source))
    return _from_dataset(source)


def check_grid(grid: GeoBox, scene: Scene, what: str) -> None:
    """Raise unless something lies pixel by pixel on a scene.

    Raises:
        GridError: it has another size, or lies elsewhere.
    """
    (height, width), (rows, cols) = grid.shape, scene.shape
    if (height, width) != (rows, cols):
        raise GridError(
            f"the {what} has {height} x {width} pixels, and {scene.id} has {rows} x {cols}; "
            "give those of one grid"
        )
    if grid.crs is not None and scene.geobox.crs is not None and not same_grid(grid, scene.geobox):
        raise GridError(f"the {what} lies elsewhere than {scene.id}; give those of one grid")


def _from_file(path: Path) -> MapPixels:
    raster = open_codes(path)
    beside = output_files(path)["confidence"]
    return MapPixels(
        title=f"{(raster.facts.descriptions[0] or path.stem).replace('_', ' ')} map",
        geobox=raster.facts.geobox,
        classes=_named(raster) or _unnamed(raster),
        codes=raster.read,
        confidence=(lambda window: read_window(beside, window)[0]) if beside.is_file() else None,
    )


def _named(raster: CodeRaster) -> dict[int, MapClass]:
    colors = raster.facts.colors
    return {
        code: MapClass(name, colors.get(code, COLORS[code % len(COLORS)]))
        for code, name in raster.names.items()
    }


def _unnamed(raster: CodeRaster) -> dict[int, MapClass]:
    """Of a raster as others write it: its numbers are the names."""
    found = np.unique(read_preview(raster.path, side=1024))
    kinds = [int(code) for code in found if raster.is_class(code)]
    return {code: MapClass(str(code), COLORS[at % len(COLORS)]) for at, code in enumerate(kinds)}


def _from_dataset(source: Any) -> MapPixels:
    classes = None
    if "classes" in getattr(source, "data_vars", ()):
        classes = flagged_classes(source["classes"].attrs)
    if classes is None:
        raise SceneError(
            f"{type(source).__name__} is no map; needed the path of one, or the dataset that "
            "Model.map gives, with its attributes"
        )
    layers = [name for name in ("classes", "confidence") if name in source.data_vars]
    held = source[layers].compute()  # both at once: Dask maps once for both
    codes = np.asarray(held["classes"].values, np.uint8)
    percent = None
    if "confidence" in layers:
        percent = np.nan_to_num(held["confidence"].values, nan=NODATA).astype(np.uint8)
    return MapPixels(
        title=f"{str(source['classes'].attrs.get('long_name', 'class')).replace('_', ' ')} map",
        geobox=array_grid(source, source["classes"]),
        classes=classes,
        codes=lambda window: codes[window.slices],
        confidence=None if percent is None else lambda window: percent[window.slices],
    )
