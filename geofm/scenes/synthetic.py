"""Seeded scenes with known truth: water among land, smooth enough to learn, quick to write."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterWindow

from geofm.bands import SENSORS, Level
from geofm.scenes.handles import borrow, expect_no_georeference
from geofm.scenes.header import LEVEL_TAG
from geofm.scenes.stack import DATES_TAG
from geofm.tasks import IGNORE, SHARED_BANDS

_CRS = "EPSG:32633"
_STRIP = 512
_WAVES = 6

Doubles = npt.NDArray[np.float64]


def water_truth(height: int, width: int, *, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Where `make_scene` of this size and seed has water, (H, W)."""
    return _terrain(np.arange(height), np.arange(width), seed) < 0


def make_scene(
    path: str | Path,
    *,
    height: int,
    width: int,
    bands: Sequence[str] = SHARED_BANDS,
    dates: int = 1,
    seed: int = 0,
    crs: str | None = "EPSG:32633",
    transform: Affine | None = None,
    nodata: float | None = 0,
    nodata_corner: bool = True,
    dtype: str = "uint16",
    scale: float = 1e-4,
    offset: float = 0.0,
    level: Level = "surface",
    block: int = 256,
    compress: str = "deflate",
    interleave: str = "pixel",
) -> Path:
    """Write a scene of lakes in fields, the same for the same arguments.

    Args:
        path: a GeoTIFF, overwritten.
        height, width: pixels.
        dates: how many, a month apart from 2020-01-01.
        transform: of the grid; 10 m north-up when None.
        nodata: the declared fill; None declares none.
        nodata_corner: fill a corner of up to a fifth of each side, bottom right.
        scale, offset: stored number = (reflectance - offset) / scale, as tags too.
        block: side of its tiles, a multiple of 16.

    Returns:
        ``path``.
    """
    path = Path(path)
    with _new_tiff(
        path, height=height, width=width, count=len(bands) * dates, dtype=dtype, nodata=nodata,
        crs=crs, transform=transform, block=block, compress=compress, interleave=interleave,
    ) as file:  # fmt: skip
        _describe(file, bands, _days(dates), scale=scale, offset=offset, level=level)
        for row in range(0, height, _STRIP):
            rows = np.arange(row, min(row + _STRIP, height))
            reflectance = _reflectance(rows, np.arange(width), bands, dates, seed)
            numbers = _stored(reflectance, dtype, scale=scale, offset=offset, nodata=nodata)
            if nodata_corner and nodata is not None:
                corner_rows = rows >= height - height // 5
                numbers[:, corner_rows, width - width // 5 :] = nodata
            file.write(numbers, window=RasterWindow(0, row, width, len(rows)))
    return path


def make_labels(path: str | Path, scene_path: str | Path, *, seed: int = 0) -> Path:
    """Write the truth of a `make_scene` file as a label raster: 1 water, 0 not, 255 no data."""
    path = Path(path)
    with borrow(str(scene_path)) as scene:
        codes = water_truth(scene.height, scene.width, seed=seed).astype(np.uint8)
        codes[scene.read_masks(1) == 0] = IGNORE
        crs, transform = scene.crs, scene.transform
    height, width = codes.shape
    with _new_tiff(
        path, height=height, width=width, count=1, dtype="uint8", nodata=IGNORE,
        crs=crs, transform=transform if crs else None, block=256, compress="deflate",
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return path


def write_reflectance(
    path: str | Path,
    reflectance: npt.NDArray[np.float32],
    bands: Sequence[str],
    days: Sequence[date],
    *,
    transform: Affine,
    valid: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write made surface reflectance as a GeoTIFF of scaled numbers, in EPSG:32633.

    Args:
        reflectance: (T, C, H, W).
        days: of each date.
        transform: of the grid.
        valid: (T, H, W); what is not is stored as 0, no data. None for all.
    """
    dates, count, height, width = reflectance.shape
    numbers = _stored(reflectance, "uint16", scale=1e-4, offset=0.0, nodata=0)
    if valid is not None:
        numbers[np.broadcast_to(~valid[:, None], numbers.shape)] = 0
    with _new_tiff(
        Path(path), height=height, width=width, count=dates * count, dtype="uint16", nodata=0,
        crs=_CRS, transform=transform, block=256, compress="deflate",
    ) as file:  # fmt: skip
        said = [day.isoformat() for day in days]
        _describe(file, bands, said, scale=1e-4, offset=0.0, level="surface")
        file.write(numbers.reshape(dates * count, height, width))


def write_codes(path: str | Path, codes: npt.NDArray[np.uint8], *, transform: Affine) -> None:
    """Write made labels (H, W) beside a scene of `write_reflectance`; 255 is unlabelled."""
    height, width = codes.shape
    with _new_tiff(
        Path(path), height=height, width=width, count=1, dtype="uint8", nodata=IGNORE,
        crs=_CRS, transform=transform, block=256, compress="deflate",
    ) as file:  # fmt: skip
        file.write(codes, 1)


def make_big_scene(
    path: str | Path,
    *,
    height: int,
    width: int,
    bands: Sequence[str] = SHARED_BANDS,
    dates: int = 1,
    seed: int = 0,
    crs: str | None = "EPSG:32633",
    dtype: str = "uint16",
    block: int = 512,
    compress: str = "deflate",
) -> Path:
    """Write a scene of any size at once: every tile of the file is the same stored tile.

    A GeoTIFF lists where each of its tiles begins; here all entries name one
    place. Readers decode every tile as usual, so time and memory are those of a
    real file, and writing 40,000 x 40,000 px takes as long as a single tile.

    Returns:
        ``path``.
    """
    path = Path(path)
    side, scale = np.arange(block), 1e-4
    numbers = _stored(
        _reflectance(side, side, bands, dates, seed), dtype, scale=scale, offset=0, nodata=0
    )
    with _new_tiff(
        path, height=height, width=width, count=len(numbers), dtype=dtype, nodata=0, crs=crs,
        transform=None, block=block, compress=compress, interleave="pixel",
        SPARSE_OK=True, BIGTIFF="NO",
    ) as file:  # fmt: skip
        _describe(file, bands, _days(dates), scale=scale, offset=0, level="surface")
        file.write(
            numbers[:, :height, :width],
            window=RasterWindow(0, 0, min(block, width), min(block, height)),
        )
    _repeat_first_tile(path)
    return path


def _repeat_first_tile(path: Path) -> None:
    """Set every entry of the tile offsets and byte counts to the first one's.

    Tags 324 and 325 of TIFF 6.0, section 15; classic, little-endian.
    """
    file = np.memmap(path, dtype=np.uint8, mode="r+")

    def numbers(start: int, count: int, kind: str) -> npt.NDArray[Any]:
        return file[start : start + count * np.dtype(kind).itemsize].view(kind)

    assert bytes(file[:4]) == b"II*\x00", "not a classic little-endian TIFF"
    directory = int(numbers(4, 1, "<u4")[0])
    for entry in range(int(numbers(directory, 1, "<u2")[0])):
        at = directory + 2 + 12 * entry
        tag, kind = numbers(at, 2, "<u2")
        count, place = (int(number) for number in numbers(at + 4, 2, "<u4"))
        if tag in {324, 325} and count > 1:
            # TIFF types 3 and 4 are 16 and 32 bits wide; four bytes fit into the entry itself.
            width = {3: 2, 4: 4}[int(kind)]
            entries = numbers(place if count * width > 4 else at + 8, count, f"<u{width}")
            entries[:] = entries[0]
    file.flush()


@contextmanager
def _new_tiff(
    path: Path, *, crs: Any, transform: Affine | None, block: int, **profile: Any
) -> Iterator[Any]:
    """A tiled GeoTIFF to write into; without a CRS and a transform, without a georeference."""
    expect_no_georeference()
    if crs:
        transform = transform or Affine(10, 0, 500_000, 0, -10, 5_900_000)
    grid = {"crs": crs, "transform": transform} if transform else {}
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, blockxsize=block, blockysize=block,
        **grid, **profile,
    ) as file:  # fmt: skip
        yield file


def _days(dates: int) -> list[str]:
    """The first of each month from 2020 on."""
    return [f"{2020 + month // 12}-{month % 12 + 1:02d}-01" for month in range(dates)]


def _describe(
    file: Any,
    bands: Sequence[str],
    days: Sequence[str],
    *,
    scale: float,
    offset: float,
    level: Level,
) -> None:
    """Band names, units and level as geofm reads them back."""
    count = len(bands) * len(days)
    file.descriptions = tuple(bands) * len(days)
    file.scales, file.offsets = (scale,) * count, (offset,) * count
    # GDAL keeps no tag for scale 1; this one says it in words.
    units = {"scale_factor": "1"} if (scale, offset) == (1, 0) else {}
    file.update_tags(**{LEVEL_TAG: level, DATES_TAG: ",".join(days)}, **units)


def _terrain(rows: npt.NDArray[Any], cols: npt.NDArray[Any], seed: int) -> Doubles:
    """Smooth heights (H, W) as a sum of waves; below 0, a third or so, is water."""
    rng = np.random.default_rng(seed)
    heights = np.full((len(rows), len(cols)), 0.5)
    for _ in range(_WAVES):
        length, angle, phase = rng.uniform(24, 160), rng.uniform(0, np.pi), rng.uniform(0, 6.28)
        step = 2 * math.pi / length
        # sin(a + b) of rows and columns apart: two outer products instead of a sine a pixel.
        down, across = rows * step * math.sin(angle), cols * step * math.cos(angle) + phase
        heights += np.outer(np.sin(down), np.cos(across)) + np.outer(np.cos(down), np.sin(across))
    return heights


def _reflectance(
    rows: npt.NDArray[Any], cols: npt.NDArray[Any], bands: Sequence[str], dates: int, seed: int
) -> npt.NDArray[np.float32]:
    """(T * C, H, W): dark water, land that brightens with wavelength and height, and noise."""
    terrain = _terrain(rows, cols, seed)
    is_water = terrain < 0
    rng = np.random.default_rng([seed, int(rows[0]), int(cols[0])])
    out = np.empty((dates * len(bands), *terrain.shape), dtype=np.float32)
    for t in range(dates):
        season = 1 + 0.1 * math.sin(t)
        for c, name in enumerate(bands):
            center = _center(name)
            land = 0.05 + 0.12 * min(center, 1.7) + 0.03 * np.tanh(terrain)
            water = max(0.07 - 0.05 * center, 0.01)
            noise = rng.normal(0, 0.01, terrain.shape)
            out[t * len(bands) + c] = np.where(is_water, water, land * season) + noise
    return np.clip(out, 0.001, 1.0, out=out)


def _center(name: str) -> float:
    """Centre wavelength, micrometres; a middling one for bands of no sensor."""
    found = (band.center for sensor in SENSORS for band in sensor.bands if band.name == name)
    return next(found, 0.6)


def _stored(
    reflectance: npt.NDArray[np.float32],
    dtype: str,
    *,
    scale: float,
    offset: float,
    nodata: float | None,
) -> npt.NDArray[Any]:
    """Reflectance as stored numbers, none of which is the fill."""
    numbers: npt.NDArray[Any] = (reflectance - offset) / scale
    if np.dtype(dtype).kind == "f":
        return numbers.astype(dtype)
    limits = np.iinfo(dtype)
    whole: npt.NDArray[Any] = np.clip(np.rint(numbers), limits.min, limits.max).astype(dtype)
    if nodata is not None:
        whole[whole == nodata] += 1
    return whole
