"""Quality layers to validity: one vocabulary of classes over every sensor's codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import rasterio.windows
from odc.geo.geobox import GeoBox

from geofm.errors import SceneError
from geofm.scenes.ground import crop
from geofm.scenes.handles import reading
from geofm.scenes.header import RasterFile
from geofm.scenes.warp import blocks_under, same_grid, source_window, warp_nearest
from geofm.scenes.window import Window

QA_CLASSES = ("fill", "cloud", "adjacent", "shadow", "cirrus", "snow", "water", "saturated")
"""What a quality layer may tell of a pixel. ``fill`` is no data, whatever else is asked;
``adjacent`` is beside a cloud; ``saturated`` counts in the bands that are read."""

FILL = 1  # the flag of QA_CLASSES[0], and of a pixel outside the layer

Flags = npt.NDArray[np.uint8]


class Quality(Protocol):
    """Quality of a scene's pixels: files, or arrays. Threads may read at the same time."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Of `QA_CLASSES`, those told on every date."""
        ...

    @property
    def name(self) -> str:
        """What people call it, such as ``HLS Fmask``."""
        ...

    @property
    def identity(self) -> str:
        """Equal texts read equal flags, as long as no file changes."""
        ...

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[str]) -> Flags:
        """Flags (T, H, W), a bit for each of `QA_CLASSES`; saturation of ``bands`` only."""
        ...

    def select(self, dates: Sequence[int]) -> "Quality":
        """The same for these dates only, in the order given."""
        ...


def qa_flags(classes: Sequence[str]) -> int:
    """The bits of these classes together.

    >>> qa_flags(["fill", "cloud"])
    3
    """
    return sum(1 << QA_CLASSES.index(name) for name in set(classes))


def check_qa_classes(names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple, each a quality class.

    Raises:
        SceneError: one is not.
    """
    for name in names:
        if name not in QA_CLASSES:
            raise SceneError(f"unknown quality class {name!r}; known: {', '.join(QA_CLASSES)}")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Coding:
    """How a layer's numbers tell classes.

    Attributes:
        name: what people call the layer.
        bits: a bit and its class.
        codes: a whole number and its class; it goes before the bits.
        saturation: a bit and the band that it says is saturated.
        otherwise: the class of every other number but 0, or "".
    """

    name: str
    bits: tuple[tuple[int, str], ...] = ()
    codes: tuple[tuple[int, str], ...] = ()
    saturation: tuple[tuple[int, str], ...] = ()
    otherwise: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Those it tells, in the order of `QA_CLASSES`."""
        told = {name for _, name in (*self.bits, *self.codes)} | {self.otherwise}
        told |= {"saturated"} if self.saturation else set()
        return tuple(name for name in QA_CLASSES if name in told)

    def flags(self, numbers: npt.NDArray[Any], bands: Sequence[str]) -> Flags:
        """Flags of stored numbers of any shape, saturation of ``bands`` only."""
        if numbers.dtype in (np.uint8, np.uint16):
            flags: Flags = _table(self, tuple(bands), numbers.dtype.str)[numbers]
            return flags
        whole = np.nan_to_num(numbers, nan=0, posinf=0, neginf=0).astype(np.int64)
        return self._flags(whole, bands)

    def _flags(self, numbers: npt.NDArray[np.int64], bands: Sequence[str]) -> Flags:
        flags = np.zeros(numbers.shape, np.uint8)
        if self.otherwise:
            flags[numbers != 0] = qa_flags([self.otherwise])
        saturation = [(bit, "saturated") for bit, band in self.saturation if band in bands]
        for bit, name in (*self.bits, *saturation):
            flags[(numbers >> bit) & 1 == 1] |= qa_flags([name])
        for code, name in self.codes:
            flags[numbers == code] = qa_flags([name])
        return flags


@lru_cache(maxsize=64)
def _table(coding: Coding, bands: tuple[str, ...], dtype: str) -> Flags:
    """Flags of every number of a small dtype."""
    return coding._flags(np.arange(np.iinfo(np.dtype(dtype)).max + 1), bands)  # noqa: SLF001


# HLS v2.0 user guide, table 9; 255 is the layer's fill.
FMASK = Coding(
    "HLS Fmask",
    bits=((0, "cirrus"), (1, "cloud"), (2, "adjacent"), (3, "shadow"), (4, "snow"), (5, "water")),
    codes=((255, "fill"),),
)
# Sentinel-2 L2A scene classification: 8 and 9 are clouds of medium and high probability;
# 2 (dark or topographic shadow) and 7 (unclassified, low probability) mask nothing.
SCL = Coding(
    "Sentinel-2 SCL",
    codes=(
        (0, "fill"), (1, "saturated"), (3, "shadow"), (6, "water"), (8, "cloud"), (9, "cloud"),
        (10, "cirrus"), (11, "snow"),
    ),
)  # fmt: skip
# Landsat Collection 2 QA_PIXEL; bit 1 is the dilated cloud.
QA_PIXEL = Coding(
    "Landsat QA_PIXEL",
    bits=(
        (0, "fill"), (1, "adjacent"), (2, "cirrus"), (3, "cloud"), (4, "shadow"), (5, "snow"),
        (7, "water"),
    ),
)  # fmt: skip
QA_RADSAT_8_9 = Coding(
    "Landsat QA_RADSAT",
    saturation=(
        (0, "coastal"), (1, "blue"), (2, "green"), (3, "red"), (4, "nir08"), (5, "swir16"),
        (6, "swir22"), (8, "cirrus"),
    ),
)  # fmt: skip
# Bit 9 is a pixel that the sensor dropped.
QA_RADSAT_4_7 = Coding(
    "Landsat QA_RADSAT",
    bits=((9, "fill"),),
    saturation=(
        (0, "blue"), (1, "green"), (2, "red"), (3, "nir08"), (4, "swir16"), (6, "swir22"),
    ),
)  # fmt: skip
CLOUD_MASK = Coding("cloud mask", otherwise="cloud")

_CODINGS = {"fmask": FMASK, "scl": SCL, "qa_pixel": QA_PIXEL, "cloud": CLOUD_MASK}


def find_coding(codes: str | Mapping[int, str] | None, path: str = "") -> Coding:
    """The coding of a quality file that the caller names, or that its own name tells.

    Args:
        codes: ``"fmask"``, ``"scl"``, ``"qa_pixel"``, ``"cloud"`` (any number but 0 is
            cloud), or number -> class; None looks at ``path``, and takes cloud.

    Raises:
        SceneError: there is no such coding or class.
    """
    if codes is None:
        name = path.replace("\\", "/").rpartition("/")[2].lower()
        return next((found for key, found in _CODINGS.items() if key in name), CLOUD_MASK)
    if isinstance(codes, str):
        if codes not in _CODINGS:
            raise SceneError(f"unknown quality codes {codes!r}; known: {', '.join(_CODINGS)}")
        return _CODINGS[codes]
    check_qa_classes(list(codes.values()))
    return Coding("quality file", codes=tuple(codes.items()))


@dataclass(frozen=True, slots=True, eq=False)
class QualityFile:
    """One quality layer: band 1 of a file, and what its numbers mean."""

    file: RasterFile
    coding: Coding

    def read(self, window: Window, geobox: GeoBox, bands: Sequence[str]) -> Flags:
        """Flags (H, W) of a window of ``geobox``; each pixel takes those under its centre."""
        if same_grid(self.file.geobox, geobox):
            return self._flags(window, bands)
        out = np.empty((window.height, window.width), np.uint8)
        for block, here, there in blocks_under(window, geobox):
            out[here] = self._warp_block(crop(geobox, block), bands)[there]
        return out

    def _warp_block(self, target: GeoBox, bands: Sequence[str]) -> Flags:
        part = source_window(self.file.geobox, target)
        if part is None:
            return np.full(target.shape, FILL, np.uint8)
        flags = self._flags(part, bands)
        source = crop(self.file.geobox, part)
        warped: Flags = warp_nearest(flags[None], source=source, target=target, fill=FILL)[0]
        return warped

    def _flags(self, window: Window, bands: Sequence[str]) -> Flags:
        """On the file's own grid. A declared nodata is no class: masks often declare 0."""
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        what = f"rows {window.row} to {window.stop_row} of the quality layer"
        with reading(self.file.path, name=self.file.name, what=what) as dataset:
            numbers = dataset.read(1, window=area)
        return self.coding.flags(numbers, bands)


@dataclass(frozen=True, slots=True, eq=False)
class FileQuality:
    """Quality layers in files.

    Attributes:
        layers: of each date; none where a date has none.
        geobox: the scene's grid.
    """

    layers: tuple[tuple[QualityFile, ...], ...]
    geobox: GeoBox

    @property
    def identity(self) -> str:
        """Of the headers and what their numbers mean."""
        return repr([[(layer.file, layer.coding) for layer in date] for date in self.layers])

    @property
    def classes(self) -> tuple[str, ...]:
        told = [{name for one in date for name in one.coding.classes} for date in self.layers]
        return tuple(name for name in QA_CLASSES if all(name in date for date in told))

    @property
    def name(self) -> str:
        names = dict.fromkeys(one.coding.name for date in self.layers for one in date)
        return " and ".join(names)

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[str]) -> Flags:
        flags = np.zeros((len(dates), window.height, window.width), np.uint8)
        for t, date_at in enumerate(dates):
            for layer in self.layers[date_at]:
                flags[t] |= layer.read(window, self.geobox, bands)
        return flags

    def select(self, dates: Sequence[int]) -> "FileQuality":
        return FileQuality(tuple(self.layers[at] for at in dates), self.geobox)
