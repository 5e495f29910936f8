"""Mean and standard deviation of each band over the valid pixels of areas.

Streams in float64 and merges blocks by Chan, Golub and LeVeque (1979),
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", so
that neither the size nor the order of the blocks shows in the result.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from geofm.errors import BandError, SceneError
from geofm.scenes.window import Window
from geofm.tiles.area import Area, cells

BLOCK = 256
"""Side of the cells that are read and counted at once, pixels."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """What `measure_statistics` found.

    Attributes:
        mean, std: one of each a band, reflectance.
        valid: for each area and each of its windows, the valid pixels of its cells
            of `BLOCK` px, all dates; 0 in an area that could not be read.
        pixels: looked at, all dates, in areas that could be read.
        unreadable: numbers of areas that could not be read, and why.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    valid: tuple[tuple[tuple[int, ...], ...], ...]
    pixels: int = 0
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def found(self, area: int) -> int:
        """Valid pixels of an area, all dates."""
        return sum(map(sum, self.valid[area]))


@dataclass(frozen=True, slots=True)
class Moments:
    """Of pixels seen so far: count; mean (C,); sum of squared deviations (C,)."""

    count: int
    mean: Float64
    squares: Float64

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if count == 0:
            return self
        share = other.count / count
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * share,
            self.squares + other.squares + step**2 * (self.count * share),
        )


def moments(values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> Moments:
    """Moments of one block: values (T, C, H, W), valid (T, H, W)."""
    pixels = np.moveaxis(values, 1, 0)[:, valid].astype(np.float64)  # (C, valid pixels)
    bands, count = pixels.shape
    if count == 0:
        return Moments(0, np.zeros(bands), np.zeros(bands))
    mean = pixels.mean(axis=1)
    return Moments(count, mean, ((pixels - mean[:, None]) ** 2).sum(axis=1))


def measure_statistics(
    areas: Sequence[Area],
    *,
    skip_unreadable: bool = False,
    progress: Callable[[float], None] | None = None,
) -> BandStatistics:
    """Measure mean and (population) standard deviation of each band.

    Reads each window of each area once, in blocks, and nothing outside them. Some
    threads decode and count; blocks are merged in their order, so that the result
    does not tell how many.

    Args:
        areas: of scenes with the same bands in the same order.
        skip_unreadable: leave an area out whose pixels cannot all be read, instead of raising.
        progress: is told the share done, 0 to 1.

    Raises:
        BandError: the scenes' bands differ.
        SceneError: there is no valid pixel, or a band is the same everywhere; a scene
            cannot be read.
    """
    bands = areas[0].scene.bands
    for area in areas:
        if area.scene.bands != bands:
            raise BandError(
                f"{area.scene.id} has {', '.join(area.scene.bands)}; needed {', '.join(bands)}, "
                "as the first scene has; choose the same bands of all"
            )
    todo = sum(window.height * window.width for area in areas for window in area.windows)
    done = pixels = 0
    total = Moments(0, np.zeros(len(bands)), np.zeros(len(bands)))
    valid: list[tuple[tuple[int, ...], ...]] = []
    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, area in enumerate(areas):
            own = Moments(0, np.zeros(len(bands)), np.zeros(len(bands)))
            found: list[int] = []
            try:
                for cell, part in zip(_cells_of(area), _moments_of(area, pool), strict=True):
                    own += part
                    found.append(part.count)
                    done += cell.height * cell.width
                    if progress:
                        progress(done / todo)
            except SceneError as error:
                if not skip_unreadable:
                    raise
                unreadable[number] = str(error)
                done += sum(
                    cell.height * cell.width for cell in list(_cells_of(area))[len(found) :]
                )
                valid.append(_by_window(area, [0] * len(list(_cells_of(area)))))
            else:
                total += own
                pixels += len(area.scene.dates) * sum(w.height * w.width for w in area.windows)
                valid.append(_by_window(area, found))
    mean, std = _checked(total, areas, unreadable)
    return BandStatistics(mean, std, tuple(valid), pixels, unreadable)


_THREADS = min(os.cpu_count() or 1, 4)


def _cells_of(area: Area) -> Iterator[Window]:
    return (cell for window in area.windows for cell in cells(window, size=BLOCK))


def _moments_of(area: Area, pool: ThreadPoolExecutor) -> Iterator[Moments]:
    """Of each cell of an area, in order; a few are read ahead."""

    def measure(cell: Window) -> Moments:
        pixels = area.scene.read(cell)
        return moments(pixels.values, pixels.valid)

    todo = _cells_of(area)
    ahead = [pool.submit(measure, cell) for cell in islice(todo, 2 * _THREADS)]
    try:
        while ahead:
            yield ahead.pop(0).result()
            ahead += [pool.submit(measure, cell) for cell in islice(todo, 1)]
    finally:
        for future in ahead:
            future.cancel()


def _by_window(area: Area, counts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Counts of an area's cells, a row for each of its windows."""
    rest = iter(counts)
    return tuple(
        tuple(islice(rest, sum(1 for _ in cells(window, size=BLOCK)))) for window in area.windows
    )


def _checked(
    total: Moments, areas: Sequence[Area], unreadable: Mapping[int, str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band.

    Raises:
        SceneError: there is nothing to measure.
    """
    if total.count == 0:
        if unreadable:
            raise SceneError(next(iter(unreadable.values())))
        raise SceneError(
            f"{areas[0].scene.id}{' and the others' if len(areas) > 1 else ''}: no valid pixel in "
            "the training area; check nodata and masks (geofm info SCENE)"
        )
    std = np.sqrt(total.squares / total.count)
    for band, deviation, mean in zip(areas[0].scene.bands, std, total.mean, strict=True):
        # A constant band leaves rounding of the mean behind, not exactly 0.
        if deviation <= 1e-9 * max(abs(mean), 1e-6):
            raise SceneError(
                f"band {band} is {mean:.6g} at every valid pixel of the training area; "
                "check the file, or leave the band out"
            )
    return tuple(map(float, total.mean)), tuple(map(float, std))
