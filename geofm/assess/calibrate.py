"""Temperature and the bound of "unsure", fitted on labelled pixels that trained nothing.

Logits are of the blended map, as `map` has them. What is fitted is two numbers, on a
sample of the pixels that no order of work and no memory ceiling moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geofm.assess.leakage import check_exposure
from geofm.assess.parts import Part, plan_parts
from geofm.assess.tally import LabelSink
from geofm.assess.walk import map_parts
from geofm.errors import ConfigError, LabelError
from geofm.model.calibration import Calibration
from geofm.model.folder import TrainedModel
from geofm.model.metrics import Floats
from geofm.predict.engine import MapJob, MapOptions, Progress
from geofm.predict.stitch import MapPiece, probabilities_of
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tiles.area import Area, footprint

COVERAGE = 0.95
LEAST_PIXELS = 100
"""Labelled pixels below which two numbers would be a guess."""
RANGE = (0.05, 20.0)
"""Of the temperature: what lies beyond is another model."""
# Logits that are kept: two numbers need no more, and it bounds the memory.
_MOST_LOGITS = 2**24
_MOST_PIXELS = 2**20

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled pixels with their logits.

    Attributes:
        logits: (K, n) float32, blended.
        target: (n,) classes.
        pixels: labelled pixels they were drawn from.
    """

    logits: Logits
    target: npt.NDArray[np.uint8]
    pixels: int


def calibrate_model(
    model: TrainedModel,
    pairs: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    coverage: float | None = COVERAGE,
    allow_leakage: bool = False,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """The model with a temperature, and a bound below which it calls a pixel unsure.

    Weights and, but for unsure pixels, classes stay. Fit on validation scenes: on what
    trained the model it looks surer than it should, and test data never choose anything.

    Args:
        windows: for each pair, the windows to fit on; None for all.
        coverage: share of the pixels, 0 to 1, that keep their class: the surest; None
            calls none unsure.
        allow_leakage: fit also on what the model was trained on.
        options: as for a map; a CRS is not needed.

    Returns:
        The same weights with a `Calibration`; its provenance says what it rests on.

    Raises:
        ConfigError: ``coverage`` is out of range.
        SplitError: the model was trained on some of it.
        LabelError: too few pixels are labelled, or a label is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit the model.
    """
    if coverage is not None and not 0 < coverage <= 1:
        raise ConfigError(f"a coverage of {coverage:g}; needed a share above 0 and up to 1")
    if not pairs:
        raise LabelError("no scene with labels; give one or more pairs of scene and labels")
    parts = plan_parts(pairs, windows).parts
    check_exposure(
        model.provenance, pairs, parts, model=model.name, allow=allow_leakage, chosen_on=False
    )
    sample = _sample(model, pairs, parts, options, progress)
    if sample.pixels < LEAST_PIXELS:
        raise LabelError(
            f"{sample.pixels} pixels have a label and a class in the map; needed {LEAST_PIXELS} "
            "or more to calibrate on; give more labels that trained nothing"
        )
    temperature = fit_temperature(sample.logits, sample.target)
    unsure_below = None
    if coverage is not None and coverage < 1:
        unsure_below = confidence_bound(sample.logits, temperature, coverage=coverage)
    record = _record(sample, pairs, parts, temperature, coverage)
    # Scores were those of maps that called nothing unsure.
    kept = {name: value for name, value in model.provenance.items() if name != "scores"}
    return replace(
        model,
        calibration=Calibration(temperature, unsure_below),
        provenance={**kept, "calibration": record},
    )


def fit_temperature(logits: Logits, target: npt.NDArray[np.uint8]) -> float:
    """The temperature T with the least negative log likelihood of softmax(logits / T).

    The loss is convex in 1 / T: Newton's steps on its logarithm, kept inside a bracket
    that shrinks (Guo et al. 2017). Where every pixel is right it falls for ever; the
    answer then is the end of `RANGE`.

    Args:
        logits: (K, n).
        target: (n,) classes.
    """
    shifted = (logits - logits.max(axis=0)).astype(np.float64)
    own = shifted[target, np.arange(len(target))]
    low, high = (-np.log(end) for end in reversed(RANGE))  # of log(1 / T)
    at = 0.0
    for _ in range(60):
        slope, bend = _slopes(shifted, own, float(np.exp(at)))
        low, high = (at, high) if slope < 0 else (low, at)
        newton = at - slope / bend if bend > 0 else np.inf
        step = newton if low < newton < high else (low + high) / 2
        if abs(step - at) < 1e-6:
            break
        at = step
    return float(np.clip(np.exp(-at), *RANGE))


def confidence_bound(logits: Logits, temperature: float, *, coverage: float) -> float:
    """The largest probability such that this share of the pixels has it or more.

    Float32, as the map computes it, so that the share holds on these very pixels.
    """
    scaled = torch.from_numpy(np.ascontiguousarray(logits)) / temperature
    best = np.sort(probabilities_of(scaled).amax(0).numpy())
    return float(best[int(np.floor(len(best) * (1 - coverage) + 1e-9))])


def _slopes(shifted: Floats, own: Floats, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean loss by log(1 / T).

    Args:
        shifted: (K, n) logits below their largest.
        own: (n,) those of the labels.
        inverse: 1 / T.
    """
    weight = np.exp(shifted * inverse)
    weight /= weight.sum(axis=0)
    mean = (weight * shifted).sum(axis=0)
    spread = (weight * shifted**2).sum(axis=0) - mean**2
    slope = inverse * float((mean - own).mean())
    return slope, slope + inverse**2 * float(spread.mean())


def _sample(
    model: TrainedModel,
    pairs: Sequence[Pair],
    parts: Sequence[Part],
    options: MapOptions | None,
    progress: Progress | None,
) -> Sample:
    most = min(_MOST_PIXELS, _MOST_LOGITS // len(model.classes))
    kept = _Kept.empty(len(model.classes))

    def make(job: MapJob, pair: Pair, windows: Sequence[Sequence[Window]]) -> _SampleSink:
        return _SampleSink(job, pair, windows, kept, most=most, number=pairs.index(pair))

    for _ in map_parts(model, pairs, parts, make, options=options, progress=progress):
        pass
    order = np.argsort(kept.rank)
    return Sample(kept.logits[:, order], kept.target[order], kept.pixels)


@dataclass(slots=True)
class _Kept:
    """The pixels of the lowest ranks so far."""

    logits: Logits
    target: npt.NDArray[np.uint8]
    rank: npt.NDArray[np.uint64]
    pixels: int

    @classmethod
    def empty(cls, classes: int) -> "_Kept":
        none = np.empty(0, np.uint64)
        return cls(np.empty((classes, 0), np.float32), none.astype(np.uint8), none, 0)

    def add(
        self,
        logits: Logits,
        target: npt.NDArray[np.uint8],
        rank: npt.NDArray[np.uint64],
        *,
        most: int,
    ) -> None:
        self.pixels += len(target)
        if len(self.rank) == most:
            better = rank < self.rank.max()
            logits, target, rank = logits[:, better], target[better], rank[better]
        self.logits = np.concatenate([self.logits, logits], axis=1)
        self.target = np.concatenate([self.target, target])
        self.rank = np.concatenate([self.rank, rank])
        if len(self.rank) > most:
            chosen = np.argpartition(self.rank, most - 1)[:most]
            self.logits, self.target = self.logits[:, chosen], self.target[chosen]
            self.rank = self.rank[chosen]


class _SampleSink(LabelSink):
    """Keeps the logits of labelled pixels, of all or of a fixed random share of them."""

    def __init__(
        self,
        job: MapJob,
        pair: Pair,
        parts: Sequence[Sequence[Window]],
        kept: _Kept,
        *,
        most: int,
        number: int,
    ) -> None:
        super().__init__(job, pair, parts)
        self._kept, self._most, self._number = kept, most, number

    def write(self, piece: MapPiece) -> None:
        """Keep what a piece has of the sample."""
        labelled = self.labelled(piece.area)
        if labelled is None or piece.logits is None:
            return
        chosen = labelled.where & piece.mapped
        target = labelled.target[piece.mapped[labelled.where]]
        rows, cols = np.nonzero(chosen)
        rank = _ranks(self._number, rows + piece.area.row, cols + piece.area.col)
        self._kept.add(piece.logits[:, chosen], target, rank, most=self._most)


def _ranks(
    number: int, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """A random number for each pixel that depends on its place alone.

    splitmix64 (Steele, Lea and Flood 2014).
    """
    place = (rows.astype(np.uint64) << np.uint64(32)) + cols.astype(np.uint64)
    return _mixed(_mixed(place) ^ np.uint64(number))


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _record(
    sample: Sample,
    pairs: Sequence[Pair],
    parts: Sequence[Part],
    temperature: float,
    coverage: float | None,
) -> Mapping[str, Any]:
    """What the calibration rests on, for the provenance."""
    scenes = [pairs[at].scene for at in dict.fromkeys(part.pair for part in parts)]
    before, after = (_loss(sample, by) for by in (1.0, temperature))
    return {
        "pixels": sample.pixels,
        "scenes": len(scenes),
        "nll_before": round(before, 6),
        "nll_after": round(after, 6),
        "coverage": coverage,
        "sources": sorted({scene.id for scene in scenes}),
        "training_footprint": footprint(
            [Area(pairs[part.pair].scene, part.windows) for part in parts]
        ),
    }


def _loss(sample: Sample, temperature: float) -> float:
    shifted = (sample.logits - sample.logits.max(axis=0)).astype(np.float64) / temperature
    own = shifted[sample.target, np.arange(len(sample.target))]
    return float((np.log(np.exp(shifted).sum(axis=0)) - own).mean())
