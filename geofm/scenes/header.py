"""One raster file as its header tells it: grid, bands, validity, units; no pixels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from geofm.errors import SceneError
from geofm.scenes.handles import borrow, gdal_reason, is_remote, plain_name

LEVEL_TAG = "GEOFM_LEVEL"
"""Dataset tag: ``toa`` or ``surface``."""

_SCALE_TAGS = ("scale", "scale_factor")
_OFFSET_TAGS = ("offset", "add_offset")
# Enough to see a cut that spares the last block, and cheap for any file.
_MAX_CHECKED_BLOCKS = 512


@dataclass(frozen=True, slots=True)
class BandHeader:
    """One band of a file.

    Attributes:
        index: position in the file, from 1.
        description: the text that the writer gave, or "".
        color: GDAL's colour interpretation, such as ``"red"``.
        nodata: the declared fill, or None.
        has_mask: GDAL keeps a mask for this band alone.
        scale, offset: from its tags or the file's; None where there is no tag.
        saturated: the number that a product puts where the sensor was blinded, or None.
    """

    index: int
    description: str
    color: str
    nodata: float | None
    has_mask: bool
    scale: float | None
    offset: float | None
    saturated: float | None = None


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One file: where it is and what its header says. Holds no open handle.

    Attributes:
        path: as GDAL opens it, from any working directory.
        name: as people gave it, without secrets.
        geobox: its grid; without a CRS where it has none.
        dtype: of the stored numbers, the widest of its bands.
        block_shape: rows and columns of a stored block.
        bands: all but alpha.
        has_mask: GDAL keeps one mask (``.msk`` or internal) for all bands.
        alpha: position of the alpha band, from 1; None without one.
        tags: of the dataset.
    """

    path: str
    name: str
    geobox: GeoBox
    dtype: np.dtype[Any]
    block_shape: tuple[int, int]
    bands: tuple[BandHeader, ...]
    has_mask: bool
    alpha: int | None
    tags: Mapping[str, str]


def read_header(path: str | Path) -> RasterFile:
    """Open a file and read its header.

    Raises:
        SceneError: nothing is there, or it is not a whole raster.
    """
    text, name = str(path), plain_name(str(path))
    if not is_remote(text) and not text.startswith("/vsi"):
        _check_local(Path(text))
        text = str(Path(text).absolute())
    try:
        with borrow(text) as dataset:
            return _read(text, name, dataset)
    except (RasterioError, OSError) as error:
        raise SceneError(_why_not_opened(text, name, error)) from error


def _read(path: str, name: str, dataset: Any) -> RasterFile:
    if dataset.count == 0:
        raise SceneError(
            f"{name} holds {len(dataset.subdatasets)} subdatasets and no bands of its "
            "own; needed a raster; give one subdataset, or a GeoTIFF of it"
        )
    dtype = np.result_type(*dataset.dtypes)
    if dtype.kind not in "iuf":
        raise SceneError(
            f"{name} stores {dtype} numbers; needed integers or floats; "
            "convert it to reflectance first"
        )
    _check_whole(path, name, dataset)
    colors = list(dataset.colorinterp)
    alpha = colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None
    flags = dataset.mask_flag_enums[0]
    return RasterFile(
        path=path,
        name=name,
        geobox=GeoBox(dataset.shape, dataset.transform, dataset.crs and dataset.crs.to_string()),
        dtype=dtype,
        block_shape=tuple(dataset.block_shapes[0]),
        bands=tuple(
            _band(dataset, at) for at, color in enumerate(colors) if color is not ColorInterp.alpha
        ),
        # GDAL takes alpha for a mask among two or four bands only, so it is read apart.
        has_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
        alpha=alpha,
        tags=dataset.tags(),
    )


def _band(dataset: Any, position: int) -> BandHeader:
    scale, offset = _units(dataset, position)
    return BandHeader(
        index=position + 1,
        description=dataset.descriptions[position] or "",
        color=dataset.colorinterp[position].name,
        nodata=dataset.nodatavals[position],
        has_mask=not dataset.mask_flag_enums[position],
        scale=scale,
        offset=offset,
    )


def _units(dataset: Any, position: int) -> tuple[float | None, float | None]:
    """Scale and offset of a band.

    GDAL answers 1 and 0 where there is no tag, and writes no tag for 1 and 0,
    so the pair is taken for absent unless another tag states it.
    """
    scale, offset = dataset.scales[position], dataset.offsets[position]
    if (scale, offset) != (1.0, 0.0):
        return scale, offset
    tags = {**_lower(dataset.tags()), **_lower(dataset.tags(position + 1))}
    return _number(tags, _SCALE_TAGS), _number(tags, _OFFSET_TAGS)


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in tags.items()}


def _number(tags: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    for name in names:
        try:
            return float(tags[name])
        except (KeyError, ValueError):
            continue
    return None


def _check_local(path: Path) -> None:
    if path.is_dir():
        rasters = sorted(p.name for p in path.iterdir() if p.suffix.lower() in {".tif", ".tiff"})
        hint = f"such as {rasters[0]}" if rasters else "it holds no GeoTIFF"
        raise SceneError(f"{path} is a folder; needed a raster file or a list of them; {hint}")
    if not path.exists():
        raise SceneError(f"{path} does not exist; needed a raster file; check the path")
    if path.stat().st_size == 0:
        raise SceneError(f"{path} is empty (0 bytes); needed a raster; fetch the file again")


def _check_whole(path: str, name: str, dataset: Any) -> None:
    """Look for blocks that begin or end beyond the end of the file.

    Raises:
        SceneError: the file is cut off.
    """
    if dataset.driver not in {"GTiff", "COG"} or is_remote(path) or not Path(path).is_file():
        return
    size = Path(path).stat().st_size
    (block_height, block_width), (height, width) = dataset.block_shapes[0], dataset.shape
    rows, cols = -(-height // block_height), -(-width // block_width)
    # From the end: that is what a cut takes first.
    numbers = np.unique(np.linspace(0, rows * cols - 1, min(rows * cols, _MAX_CHECKED_BLOCKS)))
    for number in numbers[::-1].astype(int):
        row, col = divmod(int(number), cols)
        for band in {1, dataset.count}:
            start, length = (
                int(dataset.get_tag_item(f"BLOCK_{item}_{col}_{row}", "TIFF", bidx=band) or 0)
                for item in ("OFFSET", "SIZE")
            )
            if start + length > size:
                raise SceneError(
                    f"{name} is cut off: it has {size:,} bytes, and a block of pixels ends at "
                    f"{start + length:,}; fetch the file again"
                )


def _why_not_opened(path: str, name: str, error: BaseException) -> str:
    """One sentence on a file that GDAL would not open."""
    reason = gdal_reason(error, path)
    if is_remote(path):
        return _why_not_fetched(name, reason)
    start = _first_bytes(path)
    if start and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        shown = " ".join(start[:40].decode("ascii").split())
        return (
            f"{name} is text (it begins with {shown!r}), not a raster; a failed download often "
            "leaves such a file; fetch it again"
        )
    return (
        f"{name} cannot be opened ({reason}); needed a whole GeoTIFF or another raster that GDAL "
        "reads; fetch the file again"
    )


def _why_not_fetched(name: str, reason: str) -> str:
    # A port may hold these digits too.
    codes = re.findall(r"(?<![:\d])4\d\d\b", reason)
    if "404" in codes:
        return f"{name} is not there (http 404); needed a raster; check the address"
    if "401" in codes or "403" in codes:
        return f"{name} is refused by its server ({reason}); renew the signature or the credentials"
    if "not recognized" in reason:
        reason = "no answer in time, or no raster"
    return f"{name} cannot be fetched ({reason}); check the address and the network, then try again"


def _first_bytes(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(256)
    except OSError:
        return b""
