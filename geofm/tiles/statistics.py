"""Mean and standard deviation of each band over the valid pixels of areas.

Streams in float64 and merges blocks by Chan, Golub and LeVeque (1979),
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", so
that neither the size nor the order of the blocks shows in the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geofm.errors import BandError, SceneError
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
            of `BLOCK` px, all dates.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    valid: tuple[tuple[tuple[int, ...], ...], ...]


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
    progress: Callable[[float], None] | None = None,
) -> BandStatistics:
    """Measure mean and (population) standard deviation of each band.

    Reads each window of each area once, in blocks, and nothing outside them.

    Args:
        areas: of scenes with the same bands in the same order.
        progress: is told the share done, 0 to 1.

    Raises:
        BandError: the scenes' bands differ.
        SceneError: there is no valid pixel, or a band is the same everywhere.
    """
    bands = areas[0].scene.bands
    for area in areas:
        if area.scene.bands != bands:
            raise BandError(
                f"{area.scene.id} has {', '.join(area.scene.bands)}; needed {', '.join(bands)}, "
                "as the first scene has; choose the same bands of all"
            )
    todo = sum(window.height * window.width for area in areas for window in area.windows)
    done = 0
    total = Moments(0, np.zeros(len(bands)), np.zeros(len(bands)))
    valid: list[tuple[tuple[int, ...], ...]] = []
    for area in areas:
        counts: list[tuple[int, ...]] = []
        for window in area.windows:
            found: list[int] = []
            for cell in cells(window, size=BLOCK):
                pixels = area.scene.read(cell)
                total += moments(pixels.values, pixels.valid)
                found.append(int(pixels.valid.sum()))
                done += cell.height * cell.width
                if progress:
                    progress(done / todo)
            counts.append(tuple(found))
        valid.append(tuple(counts))

    if total.count == 0:
        raise SceneError(
            f"{areas[0].scene.id}{' and the others' if len(areas) > 1 else ''}: no valid pixel in "
            "the training area; check nodata and masks (geofm info SCENE)"
        )
    std = np.sqrt(total.squares / total.count)
    for band, deviation, mean in zip(bands, std, total.mean, strict=True):
        # A constant band leaves rounding of the mean behind, not exactly 0.
        if deviation <= 1e-9 * max(abs(mean), 1e-6):
            raise SceneError(
                f"band {band} is {mean:.6g} at every valid pixel of the training area; "
                "check the file, or leave the band out"
            )
    return BandStatistics(tuple(map(float, total.mean)), tuple(map(float, std)), tuple(valid))
