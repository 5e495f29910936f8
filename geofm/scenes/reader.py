"""Scene: opens lazily, reads windows as stored numbers or reflectance, with validity."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from geofm.bands import LEVEL_NAMES, Level, band_indexes
from geofm.errors import SceneError
from geofm.scenes.ground import crop, crs_name, footprint, ground_resolution
from geofm.scenes.quality import FILL, Flags, Quality, check_qa_classes, qa_flags
from geofm.scenes.window import Window

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StoredPixels:
    """Pixels as the file stores them.

    Attributes:
        dn: (T, C, H, W), stored numbers; anything where not valid.
        valid: (T, H, W), measured in every band read and not set aside by QA.
        masked: (T, H, W), measured, but set aside by QA.
    """

    dn: npt.NDArray[Any]
    valid: Bools
    masked: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels as reflectance, on their grid.

    Attributes:
        values: (T, C, H, W) float32 reflectance, 0 where not valid.
        valid, masked: (T, H, W), as in `StoredPixels`.
    """

    values: Floats
    valid: Bools
    masked: Bools
    geobox: GeoBox
    bands: tuple[str, ...]
    dates: tuple[date | None, ...]


class Source(Protocol):
    """Where a scene's stored numbers come from: files, or arrays.

    Threads may read at the same time; a source travels to other processes by pickle.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers that `read` returns."""
        ...

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns that are cheapest to read at once."""
        ...

    @property
    def identity(self) -> str:
        """Equal texts read equal pixels, as long as no file changes."""
        ...

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        """Read a window inside the grid, of dates and bands by position."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """Bands and dates of one place on one grid, read by windows.

    Reflectance is ``dn * scale + offset`` in float32, in this order.

    Attributes:
        id: what receipts call it.
        bands: common names, C of them.
        dates: acquisition dates, T of them, ascending where known.
        geobox: the grid; its CRS may be None.
        level: top-of-atmosphere or surface reflectance, or unknown.
        scale, offset: (T, C) float32.
        source: where stored numbers come from.
        paths: the files, without secrets.
        quality: tells cloud, shadow, ...; None where nothing does.
        ground_size: side of a pixel, metres, as the user says where the CRS
            does not tell it.
        masked_qa: the quality classes that set a pixel aside; None leaves the
            choice to the model, and until then sets none aside.
    """

    id: str
    bands: tuple[str, ...]
    dates: tuple[date | None, ...]
    geobox: GeoBox
    level: Level
    scale: Floats
    offset: Floats
    source: Source = field(repr=False)
    paths: tuple[str, ...] = ()
    quality: Quality | None = field(default=None, repr=False)
    masked_qa: tuple[str, ...] | None = None
    ground_size: float | None = None

    def __post_init__(self) -> None:
        grid = (len(self.dates), len(self.bands))
        assert self.scale.shape == self.offset.shape == grid, (self.scale.shape, grid)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, pixels."""
        height, width = self.geobox.shape
        return int(height), int(width)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        return self.source.dtype

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns that are cheapest to read at once."""
        return self.source.block_shape

    @property
    def units(self) -> str:
        """What values mean and how stored numbers turn into them."""
        return f"{LEVEL_NAMES[self.level]} = {self._formula()}"

    @property
    def identity(self) -> str:
        """What the pixels depend on beside the content of the files; no secret can be read in it.

        Arrays have one for each time they are opened: what they hold cannot be told in short.
        """
        quality = self.quality.identity if self.quality else ""
        read = (self.source.identity, quality, self.masked_qa, self.bands, self.dates)
        said = (self.scale.tolist(), self.offset.tolist(), self.level, self.geobox)
        return hashlib.sha256(repr((read, said)).encode()).hexdigest()

    @cached_property
    def resolution(self) -> float | None:
        """Side of the central pixel on the ground, metres.

        Without a CRS that has a place on Earth it is what the user says, or None.
        """
        found = ground_resolution(self.geobox)
        return self.ground_size if found is None else found

    @cached_property
    def footprint(self) -> BaseGeometry | None:
        """Outline in longitude and latitude, split at the antimeridian; None without a CRS."""
        return footprint(self.geobox)

    def read_stored(
        self,
        window: Window | None = None,
        bands: Sequence[str] | None = None,
        dates: Sequence[int] | None = None,
    ) -> StoredPixels:
        """Stored numbers of a window inside the grid.

        Args:
            window: rows and columns; all when None.
            bands: common names, in the order wanted; all when None.
            dates: positions from 0, in the order wanted; all when None.

        Raises:
            BandError: the scene lacks one of ``bands``.
            SceneError: ``window`` leaves the grid, or the file cannot be read.
        """
        window = self._inside(window)
        wanted = self.bands if bands is None else bands
        chosen = range(len(self.dates)) if dates is None else dates
        stored = self.source.read(window, chosen, band_indexes(self.bands, wanted, where=self.id))
        if self.quality is None:
            return stored
        return _set_aside(stored, self.quality.read(window, chosen, wanted), self.masked_qa or ())

    def read(self, window: Window | None = None, bands: Sequence[str] | None = None) -> Pixels:
        """Reflectance of a window inside the grid.

        Raises:
            BandError, SceneError: as `read_stored`.
        """
        window = self._inside(window)
        chosen = self if bands is None else self.select(bands=bands)
        stored = chosen.read_stored(window)
        values = stored.dn.astype(np.float32)
        with np.errstate(all="ignore"):  # fills such as 3.4e38 overflow; they are not valid
            values *= chosen.scale[..., None, None]
            values += chosen.offset[..., None, None]
        np.copyto(values, 0, where=~stored.valid[:, None])
        return Pixels(
            values=values,
            valid=stored.valid,
            masked=stored.masked,
            geobox=crop(self.geobox, window),
            bands=chosen.bands,
            dates=chosen.dates,
        )

    def select(
        self, *, bands: Sequence[str] | None = None, dates: Sequence[int] | None = None
    ) -> "Scene":
        """The same scene with these bands and dates only, in the order given.

        Args:
            bands: common names; all when None.
            dates: positions from 0; all when None.

        Raises:
            BandError: the scene lacks one of ``bands``.
            SceneError: there is no such date.
        """
        band_at = band_indexes(self.bands, self.bands if bands is None else bands, where=self.id)
        date_at = list(range(len(self.dates)) if dates is None else dates)
        if not date_at or not all(0 <= at < len(self.dates) for at in date_at):
            raise SceneError(
                f"{self.id} has dates 0 to {len(self.dates) - 1}; asked for {date_at}; "
                "choose among them"
            )
        return replace(
            self,
            bands=tuple(self.bands[at] for at in band_at),
            dates=tuple(self.dates[at] for at in date_at),
            scale=self.scale[np.ix_(date_at, band_at)],
            offset=self.offset[np.ix_(date_at, band_at)],
            source=Selection(self.source, tuple(date_at), tuple(band_at)),
            quality=self.quality and self.quality.select(date_at),
        )

    def setting_aside(self, classes: Sequence[str]) -> "Scene":
        """The same scene, whose pixels of these quality classes are not used.

        Args:
            classes: of cloud, adjacent, shadow, cirrus, snow, water and saturated.

        Raises:
            SceneError: the scene has no quality layer that tells one of them.
        """
        wanted = check_qa_classes(classes)
        told = self.quality.classes if self.quality else ()
        missing = [name for name in wanted if name not in told]
        if missing and self.quality:
            raise SceneError(
                f"{self.id}: {self.quality.name} tells {', '.join(told) or 'nothing on each date'};"
                f" asked to set aside {', '.join(missing)} too; leave it out, or give another "
                "layer with quality="
            )
        if missing:
            raise SceneError(
                f"{self.id} has no quality layer; needed one to set aside {', '.join(missing)}; "
                "give it with quality=, or set nothing aside"
            )
        return replace(self, masked_qa=wanted)

    def to_xarray(self) -> Any:
        """Reflectance as an `xarray.DataArray` (time, band, y, x), read when used.

        NaN where not valid; chunked where dask is installed.
        """
        from geofm.scenes.lazy import to_xarray

        return to_xarray(self)

    def __repr__(self) -> str:
        height, width = self.shape
        ground = "" if self.resolution is None else f", {self.resolution:.4g} m on the ground"
        dates = [str(day) if day else "date unknown" for day in self.dates]
        lines = {
            "bands": ", ".join(self.bands),
            "dates": ", ".join(dates if len(dates) <= 6 else [*dates[:5], f"… {dates[-1]}"]),
            "size": f"{height:,} rows x {width:,} columns{ground}",
            "CRS": crs_name(self.geobox),
            "bounds": self._bounds_text(),
            "values": self.units,
            "quality": self.quality_text,
            "stored": f"{self.dtype}, blocks of {self.block_shape[0]} x {self.block_shape[1]}",
            "files": self._files_text(),
        }
        return "\n".join(
            [f"Scene {self.id}", *(f"  {key:<8}{text}" for key, text in lines.items())]
        )

    def _inside(self, window: Window | None) -> Window:
        height, width = self.shape
        if window is None:
            return Window(0, 0, height, width)
        window = Window(*window)
        if window != window.clip(height, width) or window.height < 1 or window.width < 1:
            raise SceneError(
                f"{self.id}: the window of rows {window.row} to {window.stop_row} and columns "
                f"{window.col} to {window.stop_col} leaves the grid of {height} x {width}; "
                "clip it first"
            )
        return window

    def _formula(self) -> str:
        scales, offsets = np.unique(self.scale), np.unique(self.offset)
        if len(scales) > 1 or len(offsets) > 1:
            return "stored number x scale + offset, by date and band"
        offset = f" {offsets[0]:+g}" if offsets[0] else ""
        return f"stored number x {scales[0]:g}{offset}"

    def _bounds_text(self) -> str:
        if self.footprint is None or self.footprint.is_empty:
            return "unknown"
        west, south, east, north = self.footprint.bounds
        return f"{west:.4f}, {south:.4f} to {east:.4f}, {north:.4f} (longitude, latitude)"

    @property
    def quality_text(self) -> str:
        """Which quality layers there are, and what they set aside."""
        if self.quality is None:
            return "no layer: clouds are not known"
        told = ", ".join(name for name in self.quality.classes if name != "fill")
        aside = "as the model asks" if self.masked_qa is None else ", ".join(self.masked_qa)
        return f"{self.quality.name}: {told or 'nothing'}; set aside: {aside or 'none'}"

    def _files_text(self) -> str:
        names = [path.rpartition("/")[2] for path in self.paths]
        return ", ".join(names if len(names) <= 3 else [*names[:2], f"… {names[-1]}"])


def _set_aside(stored: StoredPixels, flags: Flags, classes: Sequence[str]) -> StoredPixels:
    """Fill was not measured; what ``classes`` flag was, but is not to be used."""
    measured = stored.valid & (flags & FILL == 0)
    aside = measured & (flags & qa_flags(classes) != 0)
    return StoredPixels(stored.dn, measured & ~aside, stored.masked | aside)


@dataclass(frozen=True, slots=True)
class Selection:
    """Some dates and bands of another source."""

    whole: Source
    date_at: tuple[int, ...]
    band_at: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    @property
    def block_shape(self) -> tuple[int, int]:
        return self.whole.block_shape

    @property
    def identity(self) -> str:
        return repr((self.whole.identity, self.date_at, self.band_at))

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        return self.whole.read(
            window, [self.date_at[t] for t in dates], [self.band_at[c] for c in bands]
        )
