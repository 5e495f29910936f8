"""A picture for people: the scene beside its map, on one scale, with a legend."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geofm.info.page import share_text
from geofm.plot.ink import INK, new_figure, save_figure
from geofm.scenes.facts import RasterFacts, read_facts, read_preview
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import CODE_NAMES, NODATA

SIDE = 1600  # pixels of a panel's longer side; a picture, not data

# The first that the scene has: as eyes see it, then what shows water and vegetation best.
COMPOSITES = {
    ("red", "green", "blue"): "true colour",
    ("swir16", "nir08", "red"): "false colour: swir16, nir08, red",
    ("swir16", "nir", "red"): "false colour: swir16, nir, red",
    ("nir", "red", "green"): "false colour: nir, red, green",
    ("nir08", "red", "green"): "false colour: nir08, red, green",
}

Rgb = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


def save_scene_beside_map(scene: Scene, map_path: str | Path, png_path: str | Path) -> Path:
    """Save a picture of a scene and of its map.

    Args:
        scene: on the map's grid; its last date is shown.
        map_path: what `map_scene` wrote.

    Returns:
        ``png_path``.

    Raises:
        SceneError: the map cannot be read.
        OutputError: the picture cannot be written.
    """
    facts = read_facts(map_path)
    codes = read_preview(map_path, side=SIDE)[0].astype(np.uint8)
    image, composite = scene_image(scene, codes.shape)
    wide = scene.shape[1] > 1.2 * scene.shape[0]
    figure = _figure(scene.shape, wide=wide)
    left, right = figure.subplots(*((2, 1) if wide else (1, 2)))
    words = [scene.id, str(scene.dates[-1] or ""), composite]
    _panel(left, image, "  ·  ".join(word for word in words if word))
    _panel(right, class_image(codes, facts), f"{_task(facts)} map")
    if scene.resolution:
        _scale_bar(left, scene.resolution * scene.shape[1] / codes.shape[1], codes.shape[1])
    _legend(figure, codes, facts)
    return save_figure(figure, png_path)


def scene_image(scene: Scene, shape: tuple[int, ...]) -> tuple[Rgb, str]:
    """A scene's last date as an image, and what its colours are.

    Each band is stretched from its 2nd to its 98th percentile; invalid pixels are white.

    Returns:
        (h, w, 3) float32, 0 to 1.
    """
    bands, name = composite(scene.bands)
    values, valid = _shrink(scene.select(bands=bands, dates=[len(scene.dates) - 1]), shape)
    image = np.ones((*valid.shape, 3), np.float32)
    if valid.any():
        low, high = np.percentile(values[:, valid], (2, 98), axis=1)
        span = np.maximum(high - low, 1e-6)
        stretched = (values - low[:, None, None]) / span[:, None, None]
        image[valid] = np.clip(stretched, 0, 1).transpose(1, 2, 0)[valid]
    return image, name


def class_image(codes: Codes, facts: RasterFacts) -> Rgb:
    """Codes in the map's own colours, (h, w, 3) float32, 0 to 1."""
    table = np.ones((256, 3), np.float32)
    for code, color in facts.colors.items():
        table[code] = to_rgb(color)
    image: Rgb = table[codes]
    return image


def composite(bands: Sequence[str]) -> tuple[tuple[str, str, str], str]:
    """The bands to show as red, green and blue, and what that is called."""
    for chosen, name in COMPOSITES.items():
        if set(chosen) <= set(bands):
            return chosen, name
    return (bands[0], bands[0], bands[0]), bands[0]


def _shrink(scene: Scene, shape: tuple[int, ...]) -> tuple[Rgb, npt.NDArray[np.bool_]]:
    """Every n-th pixel of one date, read in strips so that memory stays bounded."""
    height, width = scene.shape
    rows = ((np.arange(shape[0]) + 0.5) * height / shape[0]).astype(int)
    cols = ((np.arange(shape[1]) + 0.5) * width / shape[1]).astype(int)
    bands = list(dict.fromkeys(scene.bands))
    values = np.zeros((len(scene.bands), *shape), np.float32)
    valid = np.zeros(shape, np.bool_)
    step = max(scene.block_shape[0], 64)
    for start in range(0, height, step):
        here = np.flatnonzero((rows >= start) & (rows < start + step))
        if here.size:
            strip = scene.read(Window(start, 0, min(step, height - start), width), bands)
            index = np.ix_(rows[here] - start, cols)
            valid[here] = strip.valid[0][index]
            for at, band in enumerate(scene.bands):
                values[at, here] = strip.values[0, bands.index(band)][index]
    return values, valid


def _figure(shape: tuple[int, int], *, wide: bool) -> Figure:
    height, width = shape
    across, down = (1, 2) if wide else (2, 1)
    panel = 10 / across
    # A sliver of a scene still gets a figure that one can look at.
    tall = min(max(panel * height / width, 1.0), 3 * panel)
    return new_figure(10, tall * down + 0.3 * down + 0.35)


def _panel(axes: Axes, image: Rgb, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#cccccc")


def _legend(figure: Figure, codes: Codes, facts: RasterFacts) -> None:
    """Classes with their share of the mapped pixels; codes only where they occur."""
    counts = np.bincount(codes.ravel(), minlength=256)
    mapped = max(counts.sum() - counts[NODATA], 1)
    handles = []
    for code, name in facts.categories.items():
        if code not in CODE_NAMES or counts[code]:
            share = "" if code == NODATA else f"  {share_text(counts[code] / mapped)}"
            color = facts.colors.get(code, "#ffffff")
            handles.append(Patch(facecolor=color, edgecolor="#999999", label=f"{name}{share}"))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(len(handles), 5),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.4,
    )


def _scale_bar(axes: Axes, metres: float, width: int) -> None:
    """A bar of a round length, about a fifth of the picture.

    Args:
        metres: on the ground, of a pixel of the picture.
        width: of the picture, pixels.
    """
    rough = metres * width / 5
    power = 10 ** np.floor(np.log10(rough))
    length = max(step * power for step in (1, 2, 5) if step * power <= rough)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / metres / width
    axes.plot([0.02, 0.02 + share], [0.04, 0.04], transform=axes.transAxes, color="white", lw=3)
    axes.text(
        0.02 + share / 2,
        0.06,
        label,
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        fontsize=9,
        color="white",
        bbox={"facecolor": "black", "alpha": 0.35, "edgecolor": "none", "pad": 1.5},
    )


def _task(facts: RasterFacts) -> str:
    return (facts.descriptions[0] or "class").replace("_", " ")
