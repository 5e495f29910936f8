"""Do stored numbers, scale and offset make reflectance? Judged on a small sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.bands import NOT_REFLECTANCE
from geofm.errors import UnitsError
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

# Half of a band's pixels above 2 is nothing on Earth: snow, cloud and glint
# reach 1.6 (Landsat's stored range ends there).
_MAX_MEDIAN = 2.0
# Overcorrected dark water falls to a few hundredths below 0, not further.
_MIN_MEDIAN = -0.08
# An offset of -0.1 applied twice takes what is dark, and green plants in red, below this.
_MIN_DOUBTFUL = -0.01
# The darkest water is above this in its brightest band.
_MIN_BRIGHT = 5e-4
# Looked at: parts of some blocks, spread over the scene, until enough pixels are valid.
_MAX_BLOCKS, _BLOCK_SIDE, _ENOUGH = 12, 64, 3 * 64 * 64

Floats = npt.NDArray[np.float32]


def check_units(
    scene: Scene, *, doubtful: bool = False, dates: Sequence[int] | None = None
) -> None:
    """Compare a sample of the scene with what reflectance can be.

    Args:
        doubtful: the offset may have been applied already: below 0 is not forgiven.
        dates: positions of those to look at; all when None.

    Raises:
        UnitsError: it cannot be, with the likely fix.
        SceneError: the sample cannot be read.
    """
    optical = [band for band in scene.bands if band not in NOT_REFLECTANCE]
    if not optical:
        return
    for t in range(len(scene.dates)) if dates is None else dates:
        one = scene.select(bands=optical, dates=[t])
        dn = _sample(one)
        if dn.size:
            values = dn * one.scale[0][:, None] + one.offset[0][:, None]
            _judge(one, dn, values, _MIN_DOUBTFUL if doubtful else _MIN_MEDIAN)


def _sample(scene: Scene) -> Floats:
    """Stored numbers (C, n) of valid pixels from a few blocks; n may be 0."""
    found: list[npt.NDArray[Any]] = []
    for window in _sample_windows(scene):
        stored = scene.read_stored(window)
        found.append(stored.dn[0][:, stored.valid[0]])
        if sum(part.shape[1] for part in found) >= _ENOUGH:
            break
    return np.concatenate(found, axis=1).astype(np.float32)


def _sample_windows(scene: Scene) -> list[Window]:
    """Part of each of a few blocks: the middle first, then ever more places between."""
    height, width = scene.shape
    rows, cols = scene.block_shape
    windows = []
    for number in range(_MAX_BLOCKS):
        # Halton points: bases 2 and 3 spread evenly however many are taken.
        row = int(_radical_inverse(number + 1, 2) * height) // rows * rows
        col = int(_radical_inverse(number + 1, 3) * width) // cols * cols
        window = Window(row, col, min(rows, _BLOCK_SIDE), min(cols, _BLOCK_SIDE))
        windows.append(window.clip(height, width))
    return list(dict.fromkeys(windows))


def _radical_inverse(number: int, base: int) -> float:
    result, digit = 0.0, 1.0
    while number:
        digit /= base
        result += number % base * digit
        number //= base
    return result


def _judge(scene: Scene, dn: Floats, values: Floats, lowest: float) -> None:
    medians = np.median(values, axis=1)
    bright = np.percentile(values, 98, axis=1)
    high, low = int(np.argmax(medians)), int(np.argmin(medians))
    if medians[high] > _MAX_MEDIAN:
        _refuse(scene, high, medians[high], "at most about 1", _likely_scale(dn))
    if medians[low] < lowest:
        _refuse(scene, low, medians[low], "at least about 0", _likely_fill(dn[low]))
    brightest = int(np.argmax(bright))
    if 0 < bright[brightest] < _MIN_BRIGHT:
        _refuse(scene, brightest, medians[brightest], "mostly above 0.01", _likely_scale(dn))


def _refuse(scene: Scene, band: int, median: float, needed: str, fix: str) -> None:
    scale, offset = scene.scale[0, band], scene.offset[0, band]
    raise UnitsError(
        f"{scene.id}: {scene.bands[band]} is {median:.4g} in half of its pixels with scale "
        f"{scale:g} and offset {offset:g}; reflectance is {needed}; {fix}"
    )


def _likely_scale(dn: Floats) -> str:
    """The scale under which the numbers would be reflectance, as advice."""
    top = float(np.percentile(dn, 98))
    known: Sequence[tuple[float, str]] = (
        (1.6, "give scale=1 (the numbers are reflectance already)"),
        (160.0, "give scale=0.01 (percent)"),
        (1_600.0, "give scale=0.001 (reflectance x 1000)"),
        (16_000.0, "give scale=0.0001 (reflectance x 10000)"),
        (65_535.0, "give scale=2.75e-5 and offset=-0.2 (Landsat Collection 2 surface reflectance)"),
    )
    advice = next((text for limit, text in known if top <= limit), None)
    return f"likely {advice}" if advice else "check scale= and offset="


def _likely_fill(dn: Floats) -> str:
    """Most pixels at one number mean a fill that nobody declared."""
    median = float(np.median(dn))
    if np.mean(dn == median) > 0.2:
        return f"likely {median:g} is the fill: give nodata={median:g}"
    return "likely the offset has been applied already: give offset=0"
