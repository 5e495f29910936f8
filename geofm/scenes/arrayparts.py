"""A scene of chunked arrays in parts: Dask's blocks, and a window of the scene from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from geofm.scenes.arrays import ArrayQuality, ArraySource
from geofm.scenes.quality import Flags
from geofm.scenes.reader import Scene, Selection, Source, StoredPixels
from geofm.scenes.window import Window

if TYPE_CHECKING:
    import xarray as xr

# First date, place, and values (T, h, w): of numpy, or delayed.
Block = tuple[int, Window, Any]
Blocks = Mapping[str, Sequence[Block]]
_QUALITY = "quality"


def is_chunked(scene: Scene) -> bool:
    """Whether Dask computes pixels of the scene."""
    source = scene.source
    while isinstance(source, Selection):
        source = source.whole
    if not isinstance(source, ArraySource):
        return False
    arrays = list(source.data.data_vars.values())
    if isinstance(scene.quality, ArrayQuality):
        arrays += scene.quality.data.data_vars.values()
    return any(array.chunks is not None for array in arrays)


def lazy_blocks(scene: Scene) -> Blocks:
    """What is stored, as Dask has it in blocks; none is computed.

    The blocks are Dask's own, not slices: a window that needs part of one shares the whole with
    its neighbours, where slices would be fused with the reading and read it anew each time.

    Args:
        scene: of arrays (`is_chunked`).
    """
    return {str(name): list(_blocks(array)) for name, array in _stored(scene).data_vars.items()}


def blocks_over(blocks: Blocks, window: Window) -> Blocks:
    """Those that share pixels with a window."""
    return {
        name: [
            block
            for block in band
            if block[1].row < window.stop_row
            and block[1].col < window.stop_col
            and block[1].stop_row > window.row
            and block[1].stop_col > window.col
        ]
        for name, band in blocks.items()
    }


def without_pixels(scene: Scene) -> Scene:
    """The scene of arrays with all that is known of it, and none of its pixels."""
    empty = _stored(scene).isel(y=slice(0), x=slice(0))
    return _holding(scene, _flat(scene.source).nodata, Window(0, 0, 0, 0), _filled(empty, {}))


def with_part(scene: Scene, window: Window, blocks: Blocks) -> Scene:
    """The scene on its whole grid, of which only a window can be read.

    Args:
        scene: from `without_pixels`.
        blocks: over the window, computed.
    """
    assert isinstance(scene.source, _Held)
    empty = scene.source.numbers.data
    if isinstance(scene.quality, _HeldQuality):
        empty = empty.merge(scene.quality.flags.data)
    pixels = {name: _joined(band, window) for name, band in blocks.items()}
    return _holding(scene, scene.source.numbers.nodata, window, _filled(empty, pixels))


def _stored(scene: Scene) -> "xr.Dataset":
    """Variables ``0``, ``1``, ... (time, y, x), a band each, and maybe ``quality``."""
    stored = _flat(scene.source).data
    if isinstance(scene.quality, ArrayQuality):
        stored = stored.assign({_QUALITY: scene.quality.data[_QUALITY]})
    return stored


def _blocks(array: "xr.DataArray") -> Iterator[Block]:
    if array.chunks is None:
        array = array.chunk()
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in array.chunks or ()]
    for (t, i, j), block in np.ndenumerate(array.data.to_delayed(optimize_graph=False)):
        row, col = starts[1][i], starts[2][j]
        place = Window(row, col, starts[1][i + 1] - row, starts[2][j + 1] - col)
        yield starts[0][t], place, block


def _joined(blocks: Sequence[Block], window: Window) -> npt.NDArray[Any]:
    """The pixels (T, height, width) of a window."""
    dates = max(first + len(block) for first, _, block in blocks)
    joined = np.empty((dates, window.height, window.width), blocks[0][2].dtype)
    for first, place, block in blocks:
        row, col = max(place.row, window.row), max(place.col, window.col)
        height = min(place.stop_row, window.stop_row) - row
        width = min(place.stop_col, window.stop_col) - col
        here = Window(row - window.row, col - window.col, height, width).slices
        there = Window(row - place.row, col - place.col, height, width).slices
        joined[first : first + len(block), *here] = block[:, *there]
    return joined


def _filled(empty: "xr.Dataset", pixels: Mapping[str, npt.NDArray[Any]]) -> "xr.Dataset":
    """Variables as those of ``empty`` with pixels (T, h, w), or with none."""
    import xarray as xr

    nothing = (empty.sizes["time"], 0, 0)
    return xr.Dataset(
        {
            name: (array.dims, pixels.get(str(name), np.empty(nothing, array.dtype)), array.attrs)
            for name, array in empty.data_vars.items()
        }
    )


def _holding(
    scene: Scene, nodata: tuple[float | None, ...], window: Window, pixels: "xr.Dataset"
) -> Scene:
    quality = scene.quality
    flags = quality.flags if isinstance(quality, _HeldQuality) else quality
    if isinstance(flags, ArrayQuality):
        quality = _HeldQuality(replace(flags, data=pixels[[_QUALITY]]), window)
    numbers = ArraySource(data=pixels.drop_vars(_QUALITY, errors="ignore"), nodata=nodata)
    return replace(scene, source=_Held(numbers, window), quality=quality)


def _flat(source: Source) -> ArraySource:
    """The arrays that are read, in order."""
    if isinstance(source, Selection):
        whole = _flat(source.whole)
        chosen = {str(at): whole.data[str(band)] for at, band in enumerate(source.band_at)}
        return ArraySource(
            data=whole.data.drop_vars(list(whole.data.data_vars))
            .assign(chosen)
            .isel(time=list(source.date_at)),
            nodata=tuple(whole.nodata[band] for band in source.band_at),
        )
    return cast(ArraySource, source)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Stored numbers of one window of a grid."""

    numbers: ArraySource
    window: Window

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.numbers.dtype

    @property
    def block_shape(self) -> tuple[int, int]:
        """In memory, a row costs itself: reading it with others would leave the window."""
        return 1, 1

    @property
    def identity(self) -> str:
        return self.numbers.identity

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        return self.numbers.read(_within(window, self.window), dates, bands)


@dataclass(frozen=True, slots=True, eq=False)
class _HeldQuality:
    """Quality of one window of a grid."""

    flags: ArrayQuality
    window: Window

    @property
    def classes(self) -> tuple[str, ...]:
        return self.flags.classes

    @property
    def name(self) -> str:
        return self.flags.name

    @property
    def identity(self) -> str:
        return self.flags.identity

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[str]) -> Flags:
        return self.flags.read(_within(window, self.window), dates, bands)

    def select(self, dates: Sequence[int]) -> "_HeldQuality":
        return replace(self, flags=self.flags.select(dates))


def _within(window: Window, held: Window) -> Window:
    """``window`` counted from the corner of ``held``."""
    row, col = window.row - held.row, window.col - held.col
    moved = window._replace(row=row, col=col)
    assert moved == moved.clip(held.height, held.width), (window, held)
    return moved
