"""Pictures of scenes and maps, for a notebook's page or a file: matplotlib figures.

Each function returns a figure; with ``ax`` it draws into these axes instead, and returns
their figure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from geofm.assess.chips import NOTHING, RIGHT, WRONG
from geofm.errors import GridError, SceneError
from geofm.page import share_text
from geofm.plot.ink import (
    FAINT,
    INK,
    PALE,
    WIDTH,
    figure_of,
    new_figure,
    picture_axes,
    save_figure,
    swatches,
)
from geofm.plot.sources import MapPixels, check_grid, open_map
from geofm.predict.mapping import MapReport
from geofm.scenes.ground import ground_resolution
from geofm.scenes.labels import Labels
from geofm.scenes.picture import pick_codes, scene_images, thin_places
from geofm.scenes.reader import Scene
from geofm.tasks import CODE_NAMES, IGNORE, NODATA, UNSURE

if TYPE_CHECKING:
    import xarray as xr

SIDE = 1600  # pixels of a panel's longer side; a picture, not data
_MOST_ACROSS = 4
_TALLEST = 7.0  # inches; a notebook's window shows it whole
MISSED = "#1a1a1a"
"""Labelled as the class that is looked for, and not mapped so."""

Rgb = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def scene(
    scene: Scene,
    bands: str | Sequence[str] = "auto",
    date: int | None = -1,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """A scene in colours; what is not valid is white.

    Each band is stretched from the 2nd to the 98th percentile of its valid pixels, of all
    dates together, so that dates can be compared.

    Args:
        bands: ``"true"`` colour, ``"false"`` colour, one band in grey, or three for red, green
            and blue; ``"auto"`` takes true colour where there is red, green and blue.
        date: position among the scene's dates, from the last if negative; None draws all of
            them side by side.
        title: in place of the scene's name, date and colours.
        ax: to draw into; for a single date.

    Raises:
        BandError: the scene lacks a band.
        SceneError: there is no such date, or the scene cannot be read.

    >>> scene(opened, bands=("nir08", "red", "green"))  # doctest: +SKIP
    """
    count = len(scene.dates)
    if date is not None and not -count <= date < count:
        raise SceneError(f"{scene.id} has dates 0 to {count - 1}; asked for {date}")
    if date is None and ax is not None:
        raise SceneError("all dates need a figure of their own; leave out ax, or choose a date")
    shown = range(count) if date is None else [date % count]
    images, name = scene_images(scene, *thin_places(scene.shape, SIDE // len(shown)), bands)
    panels = _panels(scene.shape, len(shown), below=0.1) if ax is None else [ax]
    for axes, at in zip(panels, shown, strict=True):
        day = str(scene.dates[at] or "")
        first = at == shown[0]
        words = [scene.id, day, name] if len(shown) == 1 else [day or f"date {at}"]
        said = "  ·  ".join(word for word in words if word)
        _image(axes, images[at], said if title is None or not first else title)
        if first:
            _scale_bar(axes, scene.resolution, scene.shape, images[at].shape[1])
    if len(shown) > 1:
        figure_of(panels[0]).suptitle(
            f"{scene.id}  ·  {name}", x=0.01, ha="left", fontsize=10, color=INK
        )
    return figure_of(panels[0])


def map(  # noqa: A001  it is one
    map: "str | Path | MapReport | xr.Dataset",  # noqa: A002
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """A map in its own colours, with its classes and their shares as legend.

    Args:
        map: its path, what `geofm.map_scene` returned, or the dataset of `geofm.Model.map`.
        title: in place of what the map says of itself.
        ax: to draw into.

    Raises:
        SceneError: it is no map, or cannot be read.
    """
    opened = open_map(map)
    codes = _codes(opened, *thin_places(opened.shape, SIDE))
    axes = ax or _panels(opened.shape, 1)[0]
    _image(axes, class_image(codes, opened.colors), opened.title if title is None else title)
    swatches([axes], _class_marks(codes, opened))
    if ax is None:
        _scale_bar(axes, ground_resolution(opened.geobox), opened.shape, codes.shape[1])
    return figure_of(axes)


def confidence(
    map: "str | Path | MapReport | xr.Dataset",  # noqa: A002  it is one
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """How sure a map is of each pixel, in percent; what has no data is white.

    The scale ends at 100 and begins at the 1st percentile.

    Args: as `map`; beside a file stands ``OUT_confidence.tif``.

    Raises:
        SceneError: it is no map, has no confidence, or cannot be read.
    """
    opened = open_map(map)
    if opened.confidence is None:
        raise SceneError(
            "the map has no confidence; needed OUT_confidence.tif beside OUT.tif, or the variable "
            "confidence of what Model.map gives"
        )
    percent = pick_codes(opened.confidence, opened.shape, *thin_places(opened.shape, SIDE))
    told = percent != NODATA
    low = float(np.percentile(percent[told], 1)) if told.any() else 0.0
    scale = ScalarMappable(Normalize(min(low, 99.0), 100), "cividis")
    image = scale.to_rgba(percent)[..., :3].astype(np.float32)
    image[~told] = 1
    axes = ax or _panels(opened.shape, 1, below=0.65)[0]
    _image(axes, image, "confidence" if title is None else title)
    bar = figure_of(axes).colorbar(
        scale, ax=axes, orientation="horizontal", shrink=0.4, aspect=30, pad=0.02, anchor=(0, 1),
        extend="min" if low > 0 else "neither",
    )  # fmt: skip
    bar.set_label("percent", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, labelcolor=FAINT, color=PALE)
    bar.outline.set_visible(False)
    return figure_of(axes)


def compare(
    scene: Scene,
    map: "str | Path | MapReport | xr.Dataset",  # noqa: A002  it is one
    labels: "Labels | Codes | None" = None,
    *,
    bands: str | Sequence[str] = "auto",
    title: str | None = None,
) -> Figure:
    """A scene, its map, the labels, and where map and labels differ, on one scale.

    Args:
        scene: its last date is drawn.
        map: of this scene; as `map`.
        labels: as `geofm.open_labels` opens them for this scene, or (H, W) class codes, 255
            where nothing is labelled; None draws scene and map alone.
        bands: as `scene`.
        title: of the scene's panel.

    Raises:
        GridError: map or labels have another size than the scene.
        SceneError: the map is none, or a file cannot be read.
    """
    opened = open_map(map)
    check_grid(opened.geobox, scene, "map")
    places = thin_places(scene.shape, SIDE)
    images, name = scene_images(scene.select(dates=[len(scene.dates) - 1]), *places, bands)
    codes = _codes(opened, *places)
    panels = _panels(scene.shape, 2 if labels is None else 4)
    words = [scene.id, str(scene.dates[-1] or ""), name]
    said = "  ·  ".join(word for word in words if word)
    _image(panels[0], images[0], said if title is None else title)
    _scale_bar(panels[0], scene.resolution, scene.shape, codes.shape[1])
    _image(panels[1], class_image(codes, opened.colors), opened.title)
    marks = _class_marks(codes, opened)
    if labels is not None:
        target = _target(labels, scene, places)
        _image(panels[2], class_image(target, opened.colors), "labels")
        image, found = _errors(codes, target, opened)
        _image(panels[3], image, "errors")
        marks += found
    swatches(panels, marks)
    return figure_of(panels[0])


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
    return save_figure(compare(scene, map_path), png_path)


def class_image(codes: Codes, colors: Mapping[int, str]) -> Rgb:
    """Codes in colours ``#rrggbb``, (h, w, 3) float32, 0 to 1; white where there is none."""
    table = np.ones((256, 3), np.float32)
    for code, color in colors.items():
        table[code] = to_rgb(color)
    image: Rgb = table[codes]
    return image


def _codes(opened: MapPixels, rows: Ints, cols: Ints) -> Codes:
    return pick_codes(opened.codes, opened.shape, rows, cols)


def _target(labels: "Labels | Codes", scene: Scene, places: tuple[Ints, Ints]) -> Codes:
    if isinstance(labels, Labels):
        check_grid(labels.geobox, scene, "labels' grid")
        return pick_codes(labels.read, scene.shape, *places)
    codes = np.asarray(labels)
    if codes.shape != scene.shape:
        raise GridError(
            f"the labels have the shape {codes.shape}, and {scene.id} has {scene.shape}; give "
            "those of one grid"
        )
    return codes[places].astype(np.uint8)


def _errors(codes: Codes, target: Codes, opened: MapPixels) -> tuple[Rgb, list[tuple[str, str]]]:
    """Where map and labels differ, and a legend with shares of what can be compared."""
    compared = (target != IGNORE) & (codes < UNSURE)
    wrong = compared & (codes != target)
    kinds = {"as labelled": (RIGHT, compared & ~wrong)}
    if len(opened.classes) == 2:
        # The second class is the one that is looked for.
        wanted, name = list(opened.classes.items())[1]
        kinds[f"{name.name}, not labelled so"] = (WRONG, wrong & (codes == wanted))
        kinds[f"{name.name} missed"] = (MISSED, wrong & (codes != wanted))
    else:
        kinds["another class"] = (WRONG, wrong)
    image = np.empty((*codes.shape, 3), np.float32)
    image[:] = to_rgb(NOTHING)
    total = max(int(compared.sum()), 1)
    marks = []
    for text, (color, where) in kinds.items():
        image[where] = to_rgb(color)
        marks.append((color, f"{text}  {share_text(float(where.sum()) / total)}"))
    return image, marks


def _panels(shape: tuple[int, int], count: int, *, below: float = 0.45) -> list[Axes]:
    """Axes for so many pictures of one shape, laid out to fill a page's width.

    Args:
        below: room for a legend, inches.
    """
    height, width = shape
    ratio = min(max(height / width, 0.12), 3.0)  # a sliver still gets room that one can see
    across = min(count, _MOST_ACROSS)
    if count in (2, 4) and ratio < 1.9:
        across = 1 if count == 2 and ratio < 0.8 else 2
    down = -(-count // across)
    wide = WIDTH / across
    tall = wide * ratio
    if across == down == 1:
        wide = min(wide, max(_TALLEST / ratio, 3.5))
        tall = min(wide * ratio, _TALLEST)
    figure = new_figure(wide * across, (tall + 0.28) * down + below)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    return list(axes[:count])


def _image(axes: Axes, image: Rgb, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    picture_axes(axes, title=title)


def _class_marks(codes: Codes, opened: MapPixels) -> list[tuple[str, str]]:
    """Classes with their share of the mapped pixels; codes only where they occur."""
    counts = np.bincount(codes.ravel(), minlength=256)
    mapped = max(int(counts.sum() - counts[NODATA]), 1)
    marks = []
    for code, name in opened.names.items():
        if code not in CODE_NAMES or counts[code]:
            share = "" if code == NODATA else f"  {share_text(counts[code] / mapped)}"
            marks.append((opened.colors[code], f"{name}{share}"))
    return marks


def _scale_bar(axes: Axes, resolution: float | None, shape: tuple[int, int], width: int) -> None:
    """A bar of a round length, about a fifth of the picture; none where nobody knows.

    Args:
        resolution: side of a pixel, metres on the ground.
        shape: of the grid, pixels.
        width: of the picture, pixels.
    """
    if not resolution:
        return
    metres = resolution * shape[1] / width
    rough = metres * width / 5
    power = 10 ** np.floor(np.log10(rough))
    length = max(step * power for step in (1, 2, 5) if step * power <= rough)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / metres / width
    for color, width_points in (("#000000aa", 4.5), ("white", 3)):  # seen on pale ground too
        axes.plot(
            [0.02, 0.02 + share], [0.04, 0.04], transform=axes.transAxes, color=color,
            linewidth=width_points,
        )  # fmt: skip
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
