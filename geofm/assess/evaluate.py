"""A map against labels: counts by block, then scores with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from geofm.errors import LabelError
from geofm.model.metrics import MIN_BLOCKS, bootstrap_interval, confusion_matrix, iou, mean_iou
from geofm.scenes.window import Window

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """How well a map agrees with labels.

    Attributes:
        confusion: (K, K) pixels; rows are labels, columns the map.
        iou: of each class; NaN for one neither labelled nor mapped.
        mean_iou: over the classes that are labelled or mapped.
        iou_intervals: 95 % intervals of each class's IoU; None with too few blocks.
        mean_interval: 95 % interval of the mean IoU; None with too few blocks.
        blocks: blocks with a scored pixel.
        uncovered: labelled pixels that the map gives no class (unsure, masked,
            no data), which are not scored.
        note: one sentence on what the intervals rest on, or why there are none.
    """

    confusion: npt.NDArray[np.int64]
    iou: tuple[float, ...]
    mean_iou: float
    iou_intervals: tuple[tuple[float, float] | None, ...]
    mean_interval: tuple[float, float] | None
    blocks: int
    uncovered: int
    note: str


def score_map(
    classes: Codes, target: Codes, blocks: Sequence[Window], *, count: int, seed: int = 0
) -> Score:
    """Score a map on blocks of its grid.

    Intervals come from drawing whole blocks anew, because the pixels of a
    block err together.

    Args:
        classes: (H, W), the map's class codes and codes.
        target: (H, W), labels; `IGNORE` is not scored.
        blocks: the windows to score, disjoint; all else is left out.
        count: number of classes, K.
        seed: of the draw.

    Raises:
        LabelError: the shapes differ, or the blocks hold no labelled pixel with a class.
    """
    if classes.shape != target.shape:
        raise LabelError(
            f"the map has {classes.shape} pixels and the labels {target.shape}; "
            "needed labels on the map's grid"
        )
    pairs = [(classes[block.slices], target[block.slices]) for block in blocks]
    counts = np.array(
        [confusion_matrix(found, wanted, classes=count) for found, wanted in pairs], np.int64
    ).reshape(-1, count, count)
    confusion = counts.sum(axis=0)
    if not confusion.any():
        raise LabelError(
            f"no pixel of the {len(blocks)} blocks has both a label and a mapped class; "
            "give labels that lie on the map"
        )
    used = int((counts.sum(axis=(1, 2)) > 0).sum())
    scores = iou(confusion)
    return Score(
        confusion=confusion,
        iou=tuple(map(float, scores)),
        mean_iou=float(mean_iou(confusion)),
        iou_intervals=tuple(
            None
            if np.isnan(scores[k])
            else bootstrap_interval(counts, partial(_iou_of, k), seed=seed)
            for k in range(count)
        ),
        mean_interval=bootstrap_interval(counts, mean_iou, seed=seed),
        blocks=used,
        uncovered=sum(int((wanted[found >= count] < count).sum()) for found, wanted in pairs),
        note=_note(used),
    )


def _iou_of(k: int, confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return iou(confusion)[..., k]


def _note(used: int) -> str:
    if used < MIN_BLOCKS:
        return (
            f"no interval: {used} blocks have labels, and fewer than {MIN_BLOCKS} say too little "
            "about the spread"
        )
    return f"95 % intervals by drawing {used} blocks anew"
