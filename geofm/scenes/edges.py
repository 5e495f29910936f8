"""Labels without their borders, where hand and picture seldom agree to the pixel."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.scenes.window import Window
from geofm.tasks import IGNORE

Codes = npt.NDArray[np.uint8]


def without_edges(
    read: Callable[[Window], Codes],
    window: Window,
    geobox: GeoBox,
    *,
    width: int,
    outlines: bool,
) -> Codes:
    """Class codes (H, W) of a window, `IGNORE` within ``width`` px of another class.

    Any window holds the same, since it is read with a margin.

    Args:
        read: codes of a window inside the grid.
        geobox: the grid.
        width: pixels, in rows and columns; 0 leaves all as it is.
        outlines: unlabelled pixels count as another class.
    """
    if width == 0:
        return read(window)
    grown = Window(
        window.row - width, window.col - width, window.height + 2 * width, window.width + 2 * width
    ).clip(*geobox.shape)
    codes = read(grown)
    # In 16 bits an unlabelled pixel can be above all codes or, where it is no border, between.
    numbers = codes.astype(np.int16)
    high = numbers if outlines else np.where(codes == IGNORE, -1, numbers).astype(np.int16)
    border = _extreme(high, width, np.maximum) != _extreme(numbers, width, np.minimum)
    out = np.where(border, np.uint8(IGNORE), codes)
    row, col = window.row - grown.row, window.col - grown.col
    return out[row : row + window.height, col : col + window.width]


def _extreme(numbers: npt.NDArray[np.int16], width: int, pick: np.ufunc) -> npt.NDArray[np.int16]:
    """The largest or smallest number within ``width`` px in rows and columns."""
    for axis in (0, 1):
        out = numbers.copy()
        for step in range(1, min(width, numbers.shape[axis] - 1) + 1):
            here, there = [slice(None)] * 2, [slice(None)] * 2
            here[axis], there[axis] = slice(step, None), slice(None, -step)
            for one, other in ((here, there), (there, here)):
                pick(out[tuple(one)], numbers[tuple(other)], out=out[tuple(one)])
        numbers = out
    return numbers
