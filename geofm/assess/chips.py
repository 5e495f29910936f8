"""The best, median and worst parts as pictures: image, labels, map, and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from geofm.assess.evaluate import Evaluation
from geofm.assess.walk import map_parts
from geofm.model.folder import TrainedModel
from geofm.model.metrics import accuracy, mean_iou
from geofm.predict.engine import MapJob, MapOptions, Progress
from geofm.predict.plan import Block
from geofm.predict.stitch import MapPiece, SeamSums
from geofm.scenes.catalog import Pair
from geofm.scenes.picture import scene_images
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import CODE_COLORS, IGNORE, NODATA, UNSURE, MapClass
from geofm.tiles.area import intersection

SIDE = 224
"""Pixels of a picture's longer side; a larger part is thinned."""
A_KIND = 3
RIGHT, WRONG, NOTHING = "#d4dcd4", "#c6352b", "#ffffff"

Rgb = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint8]
Kind = Literal["worst", "median", "best"]


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """A part as pictures, each (h, w, 3) uint8.

    Attributes:
        mean_iou, accuracy: of this part alone.
        differs: where map and labels agree (`RIGHT`), where not (`WRONG`), where there is
            nothing to compare (`NOTHING`).
    """

    kind: Kind
    name: str
    mean_iou: float
    accuracy: float
    image: Rgb
    labels: Rgb
    map: Rgb
    differs: Rgb


def draw_chips(
    model: TrainedModel,
    pairs: Sequence[Pair],
    evaluation: Evaluation,
    *,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> list[Chip]:
    """Map the parts that tell most once more, and draw them; the worst first.

    Args:
        pairs: those of the evaluation.
        options: as of the evaluation.
    """
    chosen = _choose(evaluation)
    kinds = {evaluation.parts.parts[at]: kind for kind, these in chosen.items() for at in these}
    places = {part: at for at, part in enumerate(evaluation.parts.parts)}
    parts = list(kinds)
    maps: dict[int, Codes] = {}
    for sink, at in map_parts(
        model, pairs, parts, _PictureSink, options=options, progress=progress
    ):
        maps.update(zip(at, sink.pictures, strict=True))
    return [
        _chip(
            pairs[part.pair],
            _main(part.windows),
            maps[at],
            model.classes,
            kind=kinds[part],
            name=part.name,
            confusion=evaluation.tally.counts[places[part]],
        )
        for at, part in enumerate(parts)
    ]


def _choose(evaluation: Evaluation) -> dict[Kind, list[int]]:
    """Positions of the parts to draw, by mean IoU; of those with several classes if they do."""
    counts = evaluation.tally.counts
    scored = counts.sum(axis=(1, 2)) > 0
    mixed = scored & ((counts.sum(axis=2) > 0).sum(axis=1) > 1)
    among = np.flatnonzero(mixed if mixed.sum() >= 3 * A_KIND else scored)
    order = among[np.lexsort([accuracy(counts[among]), mean_iou(counts[among])])].tolist()
    few = min(A_KIND, max(len(order) // 3, 1))
    middle = max((len(order) - few) // 2, 0)
    worst, best = order[:few], order[max(len(order) - few, few) :]
    rest = [at for at in order[middle : middle + few] if at not in (*worst, *best)]
    return {"worst": worst, "median": rest, "best": best[::-1]}


class _PictureSink:
    """Keeps the classes of each part's largest window, and computes nothing else."""

    def __init__(self, job: MapJob, pair: Pair, parts: Sequence[Sequence[Window]]) -> None:  # noqa: ARG002  as `LabelSink`
        self._windows = [_main(windows) for windows in parts]
        self.pictures = [np.full((w.height, w.width), NODATA, np.uint8) for w in self._windows]
        blocks = [block for strip in job.layout.strips(job.plan) for block in strip]
        self.done = {
            block.index: SeamSums()
            for block in blocks
            if not any(_shares(block.area, window) for window in self._windows)
        }

    def write(self, piece: MapPiece) -> None:
        """Keep what a piece has of the windows."""
        for window, picture in zip(self._windows, self.pictures, strict=True):
            shared = intersection(window, piece.area)
            if _shares(window, piece.area):
                picture[_moved(shared, window).slices] = piece.classes[
                    _moved(shared, piece.area).slices
                ]

    def finish(self, block: Block, seams: SeamSums) -> None:
        """A block is through."""
        self.done[block.index] = seams


def _shares(a: Window, b: Window) -> bool:
    shared = intersection(a, b)
    return shared.height > 0 and shared.width > 0


def _moved(window: Window, frame: Window) -> Window:
    """A window of the grid as one of ``frame``."""
    return Window(window.row - frame.row, window.col - frame.col, window.height, window.width)


def _main(windows: Sequence[Window]) -> Window:
    return max(windows, key=lambda window: window.height * window.width)


def _chip(
    pair: Pair,
    window: Window,
    found: Codes,
    classes: Sequence[MapClass],
    *,
    kind: Kind,
    name: str,
    confusion: npt.NDArray[np.int64],
) -> Chip:
    step = max(-(-max(window.height, window.width) // SIDE), 1)
    target = pair.labels.read(window)[::step, ::step]
    found = found[::step, ::step]
    palette = palette_of(classes)
    labels = palette[target]
    labels[target == IGNORE] = _rgb(NOTHING)
    differs = np.full((*found.shape, 3), _rgb(NOTHING), np.uint8)
    compared = (target != IGNORE) & (found < UNSURE)
    differs[compared & (target == found)] = _rgb(RIGHT)
    differs[compared & (target != found)] = _rgb(WRONG)
    return Chip(
        kind=kind,
        name=name,
        mean_iou=float(mean_iou(confusion)),
        accuracy=float(accuracy(confusion)),
        image=draw_image(pair.scene, window, step),
        labels=labels,
        map=palette[found],
        differs=differs,
    )


def draw_image(scene: Scene, window: Window, step: int) -> Rgb:
    """The last date, each band stretched from its 2nd to its 98th percentile."""
    rows = np.arange(window.row, window.stop_row, step)[:, None]
    cols = np.arange(window.col, window.stop_col, step)[None, :]
    images, _ = scene_images(scene.select(dates=[len(scene.dates) - 1]), rows, cols)
    image: Rgb = np.rint(255 * images[0]).astype(np.uint8)
    return image


def palette_of(classes: Sequence[MapClass]) -> Rgb:
    """A colour for each code of labels and maps, (256, 3) uint8."""
    palette = np.full((256, 3), 255, np.uint8)
    colors = {code: kind.color for code, kind in enumerate(classes)} | CODE_COLORS
    for code, color in colors.items():
        palette[code] = _rgb(color)
    return palette


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
