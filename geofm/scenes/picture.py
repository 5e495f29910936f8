"""Scenes as people look at them: a few pixels of each, in colours, robustly stretched."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geofm.errors import BandError
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

TRUE: tuple[str, ...] = ("red", "green", "blue")
FALSE: tuple[tuple[str, ...], ...] = (
    # What shows water and vegetation best comes first.
    ("swir16", "nir08", "red"),
    ("swir16", "nir", "red"),
    ("nir", "red", "green"),
    ("nir08", "red", "green"),
)
LOW, HIGH = 2, 98
"""Percentiles of the valid pixels that become black and white."""
STRIP_ROWS, CODE_ROWS = 64, 512
"""Rows of a scene, and of a raster of bytes, that are read at once at least."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Place = tuple[Ints, Ints]


class Composite(NamedTuple):
    """The bands shown as red, green and blue, and what that is called."""

    bands: tuple[str, ...]
    name: str


class Stretch(NamedTuple):
    """Reflectance that becomes black, and the span to white, (C,) each."""

    low: Floats
    span: Floats


def composite(bands: Sequence[str], wanted: str | Sequence[str] = "auto") -> Composite:
    """Choose three bands to look at.

    Args:
        bands: that the scene has.
        wanted: ``"true"`` colour, ``"false"`` colour, ``"auto"`` for the first of these that
            there is, or else grey; one band, in grey; or three for red, green and blue.

    Raises:
        BandError: the scene lacks one.
    """
    match wanted:
        case "true" | "false" | "auto":
            choices = {"true": (TRUE,), "false": FALSE, "auto": (TRUE, *FALSE)}[wanted]
            for chosen in choices:
                if set(chosen) <= set(bands):
                    named = f"false colour: {', '.join(chosen)}"
                    return Composite(chosen, "true colour" if chosen == TRUE else named)
            if wanted == "auto":
                return Composite((bands[0],) * 3, bands[0])
            needed = " or ".join(", ".join(chosen) for chosen in choices)
            raise BandError(
                f"{wanted} colour needs {needed}; the scene has {', '.join(bands)}; name three "
                f"of them, such as bands={tuple(bands[:3])!r}"
            )
        case str():
            asked: tuple[str, ...] = (wanted,)
        case _:
            asked = tuple(wanted)
    if len(asked) not in (1, 3) or not set(asked) <= set(bands):
        raise BandError(
            f"a picture needs one band or three, of {', '.join(bands)}; it was asked for "
            f"{', '.join(asked)}"
        )
    return Composite(asked if len(asked) == 3 else asked * 3, ", ".join(asked))


def scene_images(
    scene: Scene, rows: Ints, cols: Ints, bands: str | Sequence[str] = "auto"
) -> tuple[Floats, str]:
    """Single pixels of every date as images, all with one stretch, and what their colours are.

    Args:
        rows, cols: of the pixels; they broadcast to (h, w).
        bands: as `composite` takes them.

    Raises:
        BandError, SceneError: a band is missing, or the scene cannot be read.

    Returns:
        (T, h, w, 3) float32, 0 to 1; white where not valid.
    """
    chosen, name = composite(scene.bands, bands)
    values, valid = pick(scene.select(bands=chosen), rows, cols)
    images = colours(values, stretch(values, valid))
    images[~valid] = 1
    return images, name


def thin_places(shape: tuple[int, int], side: int) -> tuple[Ints, Ints]:
    """Rows (h, 1) and columns (1, w) of evenly spread pixels, neither side above ``side``."""
    step = max(1.0, max(shape) / side)
    small = [max(1, round(length / step)) for length in shape]
    rows, cols = (
        ((np.arange(count) + 0.5) * length / count).astype(np.int64)
        for count, length in zip(small, shape, strict=True)
    )
    return rows[:, None], cols[None, :]


def pick(scene: Scene, rows: Ints, cols: Ints) -> tuple[Floats, Bools]:
    """Reflectance of single pixels; the scene is read in strips, so memory stays bounded.

    Args:
        rows, cols: of the pixels; they broadcast to (h, w). Those off the grid are not valid.

    Returns:
        (T, C, h, w) reflectance, 0 where not valid, and (T, h, w) validity.
    """
    bands = list(dict.fromkeys(scene.bands))  # a band that is shown twice is read once
    again = [bands.index(band) for band in scene.bands]
    shape = np.broadcast_shapes(rows.shape, cols.shape)
    values = np.zeros((len(scene.dates), len(bands), *shape), np.float32)
    valid = np.zeros((len(scene.dates), *shape), np.bool_)
    for window, there, inside in strips(rows, cols, scene.shape, scene.block_shape[0]):
        strip = scene.read(window, bands)
        values[:, :, *there] = strip.values[:, :, *inside]
        valid[:, *there] = strip.valid[:, *inside]
    return values[:, again], valid


def pick_codes(
    read: Callable[[Window], Codes], shape: tuple[int, int], rows: Ints, cols: Ints
) -> Codes:
    """Bytes of single pixels of a raster, (h, w); 255 off the grid.

    Args:
        read: (height, width) uint8 of a window.
        shape: of the raster.
        rows, cols: as `pick`.
    """
    found = np.full(np.broadcast_shapes(rows.shape, cols.shape), 255, np.uint8)
    for window, there, inside in strips(rows, cols, shape, CODE_ROWS):
        found[there] = read(window)[inside]
    return found


def strips(
    rows: Ints, cols: Ints, shape: tuple[int, int], step: int = 0
) -> Iterator[tuple[Window, Place, Place]]:
    """The strips of a grid under single pixels.

    Args:
        rows, cols: as `pick`.
        shape: of the grid.
        step: rows that are read at once, `STRIP_ROWS` or more.

    Yields:
        A window; which of the (h, w) pixels lie in it; and where in the window.
    """
    height, width = shape
    rows, cols = np.broadcast_arrays(rows, cols)
    on = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    there = np.nonzero(on)
    down, across = rows[there], cols[there]
    order = np.argsort(down, kind="stable")
    step = max(step, STRIP_ROWS)
    edges = range(0, height + step, step)
    cuts = np.searchsorted(down[order], edges)
    for row, first, stop in zip(edges, cuts, cuts[1:], strict=False):
        if stop > first:
            at = order[first:stop]
            left, right = int(across[at].min()), int(across[at].max()) + 1
            window = Window(row, left, min(step, height - row), right - left)
            yield window, (there[0][at], there[1][at]), (down[at] - row, across[at] - left)


def stretch(values: Floats, valid: Bools) -> Stretch:
    """A stretch from the 2nd to the 98th percentile of each band, one for all dates.

    Args:
        values, valid: as `pick` gives them.
    """
    bands = values.shape[1]
    if not valid.any():
        return Stretch(np.zeros(bands, np.float32), np.ones(bands, np.float32))
    low, high = np.percentile(values.transpose(1, 0, 2, 3)[:, valid], (LOW, HIGH), axis=1)
    return Stretch(low.astype(np.float32), np.maximum(high - low, 1e-6).astype(np.float32))


def colours(values: Floats, stretched: Stretch) -> Floats:
    """Reflectance (T, 3, h, w) as colours (T, h, w, 3), 0 to 1."""
    low, span = (part[:, None, None] for part in stretched)
    image: Floats = np.clip((values - low) / span, 0, 1).transpose(0, 2, 3, 1)
    return image
