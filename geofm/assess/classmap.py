"""A finished map as the ground it shows: classes by strips of rows, and how much there is of each.

What may be sampled and estimated is the ground that the map shows: pixels of a class, and
unsure ones, as a stratum of their own. Masked pixels and pixels without data are left out, and
how much they are is told.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geofm.errors import GridError, LabelError, SceneError
from geofm.export.flags import flagged_classes
from geofm.export.stac import own_receipt
from geofm.scenes.areas import pixel_areas
from geofm.scenes.coderaster import Codes, open_codes
from geofm.scenes.window import Window
from geofm.tasks import CODE_NAMES, MASKED, NODATA, UNSURE

STRIP_PIXELS = 2**21
"""Of a strip; about 40 bytes each are in memory."""

Doubles = npt.NDArray[np.float64]
Progress = Callable[[float, str], None]
Visit = Callable[[Window, Codes, Doubles], None]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """A map of classes, read by windows.

    Attributes:
        name: as people gave it.
        geobox: with a CRS.
        classes: names by code, without the codes from 253 on; empty where the file tells none.
        read: codes of a window, (height, width) uint8.
        training: where its model has seen labels, longitude and latitude; None where
            nobody knows.
    """

    name: str
    geobox: GeoBox
    classes: Mapping[int, str]
    read: Callable[[Window], Codes]
    training: BaseGeometry | None = None

    def strips(self) -> Iterator[Window]:
        """Whole rows, from the first to the last."""
        height, width = self.geobox.shape
        rows = max(STRIP_PIXELS // width, 1)
        for row in range(0, height, rows):
            yield Window(row, 0, min(rows, height - row), width)


@dataclass(frozen=True, slots=True)
class Stratum:
    """The ground that a map gives one class, or 253, unsure.

    Attributes:
        square_metres: on the ellipsoid.
        largest: its largest pixel, square metres.
    """

    code: int
    name: str
    square_metres: float
    pixels: int
    largest: float

    @property
    def hectares(self) -> float:
        return self.square_metres / 1e4


@dataclass(frozen=True, slots=True)
class Ground:
    """What a map shows.

    Attributes:
        strata: of the codes that it holds, ascending.
        masked, unmeasured: what it does not show, square metres.
        digest: SHA-256 of its grid and its codes, whatever file holds them.
    """

    strata: tuple[Stratum, ...]
    masked: float
    unmeasured: float
    digest: str

    @property
    def square_metres(self) -> float:
        """Of all strata."""
        return sum(stratum.square_metres for stratum in self.strata)


def open_class_map(source: Any) -> ClassMap:
    """Open a map.

    Args:
        source: path of a raster of class codes, of one byte, such as `map_scene` writes; or
            the dataset that `Model.map` gives.

    Raises:
        SceneError: it is no such raster, or cannot be read.
        GridError: it has no CRS.
    """
    opened = _from_file(Path(source)) if isinstance(source, str | Path) else _from_dataset(source)
    if opened.geobox.crs is None:
        raise GridError(
            f"{opened.name} has no CRS, so its pixels have no area; assign one (rio edit-info "
            "--crs)"
        )
    return opened


def trained_within(opened: ClassMap, provenance: Mapping[str, Any]) -> ClassMap:
    """The map with the training footprint that its model's provenance holds."""
    outline = provenance.get("training_footprint")
    return ClassMap(
        opened.name, opened.geobox, opened.classes, opened.read, outline and shape(outline)
    )


def measure_ground(
    opened: ClassMap, progress: Progress | None = None, *, visit: Visit | None = None
) -> Ground:
    """How much ground a map shows of each class, in one pass over it.

    Args:
        visit: is shown every strip too: where, the codes, and the pixels' areas.

    Raises:
        LabelError: it shows none.
        SceneError: it cannot be read, or holds a code that has no name.
    """
    metres, pixels, largest = np.zeros(256), np.zeros(256, np.int64), np.zeros(256)
    digest = hashlib.sha256(repr((opened.geobox.shape, tuple(opened.geobox.affine))).encode())
    for window, codes, areas in walk(opened, progress, "measuring the map"):
        if visit:
            visit(window, codes, areas)
        flat = codes.ravel()
        digest.update(flat.tobytes())
        pixels += np.bincount(flat, minlength=256)
        metres += np.bincount(flat, areas.ravel(), minlength=256)
        for code in np.unique(flat):
            largest[code] = max(largest[code], areas[codes == code].max())
    found = [int(code) for code in np.flatnonzero(pixels[:MASKED])]
    # A raster without names, as others write them: its numbers are the names.
    classes = opened.classes or {code: str(code) for code in found}
    names = {**classes, UNSURE: CODE_NAMES[UNSURE]}
    if nameless := [str(code) for code in found if code not in names]:
        raise SceneError(
            f"{opened.name} holds the codes {', '.join(nameless)}, which name no class; "
            f"its classes are {', '.join(opened.classes.values())}; give a map that names them all"
        )
    strata = tuple(
        Stratum(code, names[code], float(metres[code]), int(pixels[code]), float(largest[code]))
        for code in found
        if metres[code] > 0
    )
    if not any(stratum.code != UNSURE for stratum in strata):
        raise LabelError(f"{opened.name} shows no class anywhere; give a map with classes")
    return Ground(strata, float(metres[MASKED]), float(metres[NODATA]), digest.hexdigest())


def walk(
    opened: ClassMap, progress: Progress | None, what: str
) -> Iterator[tuple[Window, Codes, Doubles]]:
    """Strips of a map: where, the codes, and the area of each pixel, square metres.

    A pixel that lies nowhere on Earth, as in the corners of a world map, has no area.
    """
    height = opened.geobox.shape[0]
    for window in opened.strips():
        if progress:
            progress(window.row / height, what)
        areas = np.nan_to_num(
            pixel_areas(opened.geobox, window), copy=False, nan=0.0, posinf=0.0, neginf=0.0
        )
        yield window, opened.read(window), areas


def _from_file(path: Path) -> ClassMap:
    raster = open_codes(path)
    training = _footprint_beside(path, raster.facts.tags)
    return ClassMap(str(path), raster.facts.geobox, raster.names, raster.read, training)


def _footprint_beside(path: Path, tags: Mapping[str, str]) -> BaseGeometry | None:
    """The training footprint in the receipt of this very map."""
    try:
        outline = (own_receipt(path, tags) or {})["model"]["training_footprint"]
        return shape(outline) if outline else None
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError):
        return None


_NO_MAP = (
    "{} is no map; needed the path of one, or the dataset that Model.map gives, with its attributes"
)


def _from_dataset(source: Any) -> ClassMap:
    import odc.geo.xr  # noqa: F401  lends arrays their grid

    try:
        codes = source["classes"]
        geobox, classes = codes.odc.geobox, flagged_classes(codes.attrs)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise SceneError(_NO_MAP.format(type(source).__name__)) from error
    if classes is None:
        raise SceneError(_NO_MAP.format(type(source).__name__))
    if geobox is None:
        raise GridError("the map has no grid in its coordinates; give it as Model.map made it")
    pixels = np.asarray(codes.values, np.uint8)
    names = {code: kind.name for code, kind in classes.items()}
    return ClassMap("the map", geobox, names, lambda window: pixels[window.slices])
