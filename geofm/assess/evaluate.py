"""A map against labels, and a model against labelled scenes: counts, then scores with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.leakage import Exposure, check_exposure
from geofm.assess.parts import Parts, plan_parts
from geofm.assess.reliability import Reliability, reliability_of
from geofm.assess.scores import ClassScore, Estimate, Scores, score_counts
from geofm.assess.slices import Slice, by_unit, slices_of
from geofm.assess.tally import Tally, TallySink
from geofm.assess.walk import map_parts
from geofm.errors import LabelError
from geofm.model.calibration import Calibration
from geofm.model.folder import TrainedModel
from geofm.model.metrics import (
    MIN_BLOCKS,
    Counts,
    bootstrap_interval,
    confusion_matrix,
    iou,
    mean_iou,
)
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.recipe import weights_hash
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tasks import MapClass

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
            f"no interval: {used} {'block has' if used == 1 else 'blocks have'} labels, and fewer "
            f"than {MIN_BLOCKS} say too little about the spread"
        )
    return f"95 % intervals by drawing {used} blocks anew"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well a model maps labelled scenes.

    Attributes:
        model, sha256: its name and the hash of its weights.
        classes: what it maps.
        pairs: how many were scored.
        scores: of all pixels with a label and a class in the map.
        confusion: (K, K) these pixels; rows are labels, columns the map.
        unsure, masked, no_data: labelled pixels that the map gives no class; not scored.
        slices: scores by what is known of the pairs; the worst first.
        reliability: whether its probabilities hold; of unsure pixels too.
        calibration: what the model was given for that; None for nothing.
        exposure: what of this it has seen before.
        unit: what was drawn anew for intervals: ``"group"``, ``"chip"`` or ``"block"``.
        notes: sentences on what the numbers rest on, and what they do not say.
        parts: what was counted together, with `tally`.
        tally: counts by part, from which two models are compared.
    """

    model: str
    sha256: str
    classes: tuple[MapClass, ...]
    pairs: int
    scores: Scores
    confusion: Counts
    unsure: int
    masked: int
    no_data: int
    slices: tuple[Slice, ...]
    reliability: Reliability
    calibration: Calibration | None
    exposure: Exposure
    unit: str
    notes: tuple[str, ...]
    parts: Parts
    tally: Tally

    @property
    def mean_iou(self) -> Estimate:
        """Over the classes that are labelled or mapped."""
        return self.scores.mean_iou

    @property
    def class_scores(self) -> tuple[ClassScore, ...]:
        """Of each class, in the order of the codes."""
        return self.scores.classes

    def __str__(self) -> str:
        from geofm.assess.table import evaluation_text  # it knows this class

        return evaluation_text(self)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; a model's provenance keeps it as ``scores``.

        Every score is ``{"value": 0.81, "interval": [0.77, 0.85]}``, either of them null where
        it is not defined; ``slices`` lie worst first.
        """
        exposure = self.exposure
        calibration = self.calibration or Calibration()
        return {
            "model": self.model,
            "sha256": self.sha256,
            "mean_iou": self.scores.mean_iou.plain(),
            "mean_f1": self.scores.mean_f1.plain(),
            "accuracy": self.scores.accuracy.plain(),
            "classes": [each.plain() for each in self.class_scores],
            "confusion": self.confusion.tolist(),
            "pixels": {
                "scored": self.scores.pixels,
                "unsure": self.unsure,
                "masked": self.masked,
                "no_data": self.no_data,
            },
            "pairs": self.pairs,
            "unit": self.unit,
            "blocks": self.scores.blocks,
            "slices": [each.plain() for each in self.slices],
            "calibration": {
                "temperature": calibration.temperature,
                "unsure_below": calibration.unsure_below,
                **self.reliability.plain(),
            },
            "leakage": {
                "overlap": exposure.overlap,
                "distance_m": None if exposure.distance is None else round(exposure.distance, 1),
                "seen_in_training": exposure.trained,
                "seen_in_pretraining": exposure.pretrained,
            },
            "notes": list(self.notes),
        }


def evaluate_model(
    model: TrainedModel,
    pairs: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    allow_leakage: bool = False,
    options: MapOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score the blended maps that `map_to_file` would write of labelled scenes.

    No map is kept: its finished pieces are counted as they come, so memory stays under
    the ceiling whatever the size of the scenes, and what has no labels is not computed.

    Args:
        windows: for each pair, the windows to score, disjoint; None for all.
        allow_leakage: score also what the model was trained on.
        options: as for a map; a CRS is not needed.
        seed: of the draws for intervals.

    Raises:
        SplitError: the model was trained on some of it.
        LabelError: nothing is labelled where the map has a class, or a label is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit the model.
    """
    if not pairs:
        raise LabelError("no scene with labels; give one or more pairs of scene and labels")
    plan = plan_parts(pairs, windows)
    exposure = check_exposure(
        model.provenance, pairs, plan.parts, model=model.name, allow=allow_leakage
    )
    model = replace(model, sha256=model.sha256 or weights_hash(model))
    tally = Tally.zeros(len(plan.parts), len(model.classes))
    for sink, at in map_parts(
        model, pairs, plan.parts, TallySink, options=options, progress=progress
    ):
        tally.place(sink.tally, at)
    return _evaluation(model, pairs, plan, exposure, tally, seed=seed)


def _evaluation(
    model: TrainedModel,
    pairs: Sequence[Pair],
    plan: Parts,
    exposure: Exposure,
    tally: Tally,
    *,
    seed: int,
) -> Evaluation:
    confusion = tally.counts.sum(axis=0)
    unsure, masked, no_data = (int(number) for number in tally.codes.sum(axis=0))
    if not confusion.any():
        without = unsure + masked + no_data
        raise LabelError(
            f"no pixel of the {len(pairs)} scenes has both a label and a class in the map"
            + (f" ({without:,} labelled pixels are masked, unsure or no data)" if without else "")
            + "; give labels of what the model maps, on pixels that are measured"
        )
    pair = np.array([part.pair for part in plan.parts])
    unit = np.array([part.unit for part in plan.parts])
    scores = score_counts(by_unit(tally.counts, unit), model.classes, seed=seed)
    evaluation = Evaluation(
        model=model.name,
        sha256=model.sha256 or "",
        classes=model.classes,
        pairs=len(np.unique(pair)),
        scores=scores,
        confusion=confusion,
        unsure=unsure,
        masked=masked,
        no_data=no_data,
        slices=slices_of(
            tally.counts,
            (tally.counts + tally.withheld).sum(axis=2),
            pair=pair,
            unit=unit,
            pairs=pairs,
            classes=model.classes,
            seed=seed,
        ),
        reliability=reliability_of(tally, unit),
        calibration=model.calibration,
        exposure=exposure,
        unit=plan.unit,
        notes=(),
        parts=plan,
        tally=tally,
    )
    return replace(evaluation, notes=tuple(_notes(evaluation, pairs)))


def _notes(evaluation: Evaluation, pairs: Sequence[Pair]) -> Iterator[str]:
    """What the numbers rest on, and what they do not say."""
    yield _interval_note(evaluation, pairs)
    absent = [c.name for c in evaluation.class_scores if c.iou.value is None]
    if absent:
        yield (
            f"neither labelled nor mapped here, and in no mean: {', '.join(absent)}; these "
            "scenes do not tell how well it is found"
        )
    labelled = [c.name for c in evaluation.class_scores if c.labelled]
    if len(labelled) == 1:
        yield f"{labelled[0]} alone is labelled: whether it is told from others is not known"
    without = evaluation.unsure + evaluation.masked + evaluation.no_data
    whole = evaluation.scores.pixels + without
    if without:
        yield (
            f"{without / whole:.1%} of the labelled pixels have no class in the map and are not "
            f"scored: {evaluation.unsure:,} unsure, {evaluation.masked:,} masked, "
            f"{evaluation.no_data:,} no data"
        )
    if evaluation.exposure.overlap:
        yield "some of it was used in training: these numbers are no test"
    if evaluation.exposure.calibrated:
        yield "the temperature was fitted on some of it, which flatters the calibration error"


def _interval_note(evaluation: Evaluation, pairs: Sequence[Pair]) -> str:
    used, unit, side = evaluation.scores.blocks, evaluation.unit, evaluation.parts.side
    what = f"{unit}s of {side} px" if side else f"{unit}s"
    if used < MIN_BLOCKS:
        has = f"{what.replace('s', '', 1)} has" if used == 1 else f"{what} have"
        return (
            f"no interval: {used} {has} labels, and fewer than {MIN_BLOCKS} say too little about "
            "the spread"
        )
    among = f" of {len(pairs)} scene{'s' if len(pairs) > 1 else ''}" if unit == "block" else ""
    limit = ""
    if unit == "block":
        limit = "; they tell of this ground, not of other places"
    elif evaluation.parts.groups < len(pairs) and unit == "chip":
        limit = (
            f"; the chips lie in {evaluation.parts.groups} groups that err together, too few to "
            "draw from, so the intervals are rather too narrow"
        )
    return f"95 % intervals by drawing {used} {what}{among} anew{limit}"
