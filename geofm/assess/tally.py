"""Finished pieces of a map against labels: counts by part, in memory that no scene's size moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geofm.errors import LabelError
from geofm.model.metrics import Counts, Floats
from geofm.predict.engine import MapJob
from geofm.predict.plan import Block
from geofm.predict.stitch import MapPiece, SeamSums
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, MASKED, NODATA, UNSURE
from geofm.tiles.area import intersection

CODES = (UNSURE, MASKED, NODATA)
# Confidence is counted by its log odds: most of it lies close to 1, where bins of equal
# width would see nothing.
_LOWEST, _STEPS_A_UNIT = -6.0, 8
BINS = 288
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of labelled pixels by part, R parts and K classes.

    Attributes:
        counts: (R, K, K) pixels with a class in the map; rows are labels.
        withheld: (R, K, K) pixels that the map calls unsure, by the class it holds back.
        codes: (R, 3) pixels without a class: unsure, masked, no data.
        bins: (R, `BINS`) pixels by the confidence of their best class, named or held back.
        hits: (R, `BINS`) those whose best class is their label.
        confidence: (R, `BINS`) their confidence, summed.
        loss: (R,) negative log probability of the labels, summed.
    """

    counts: Counts
    withheld: Counts
    codes: Counts
    bins: Counts
    hits: Counts
    confidence: Floats
    loss: Floats

    @classmethod
    def zeros(cls, parts: int, classes: int) -> "Tally":
        square, bins = (parts, classes, classes), (parts, BINS)
        return cls(
            counts=np.zeros(square, np.int64),
            withheld=np.zeros(square, np.int64),
            codes=np.zeros((parts, len(CODES)), np.int64),
            bins=np.zeros(bins, np.int64),
            hits=np.zeros(bins, np.int64),
            confidence=np.zeros(bins),
            loss=np.zeros(parts),
        )

    def add(
        self,
        part: npt.NDArray[np.int64],
        target: Codes,
        found: Codes,
        logits: npt.NDArray[np.float32],
        *,
        temperature: float,
    ) -> None:
        """Count labelled pixels.

        Args:
            part: (n,) position of each pixel's part.
            target: (n,) labels, all of them classes.
            found: (n,) the map's classes and codes.
            logits: (K, n) blended.
        """
        parts, classes = self.counts.shape[:2]
        for at, code in enumerate(CODES):
            self.codes[:, at] += np.bincount(part[found == code], minlength=parts)
        known = (found < classes) | (found == UNSURE)
        part, target, found, logits = part[known], target[known], found[known], logits[:, known]
        best = logits.argmax(axis=0)
        square = (part * classes + target) * classes + best
        unsure = found == UNSURE
        _count(self.counts, square[~unsure])
        _count(self.withheld, square[unsure])

        shifted = (logits - logits.max(axis=0)).astype(np.float64) / temperature
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=0)
        others = np.maximum(total - 1, 1e-300)  # odds of the best class are 1 to this
        steps = np.floor((-np.log(others) - _LOWEST) * _STEPS_A_UNIT)
        cell = part * BINS + np.clip(steps, 0, BINS - 1).astype(np.int64)
        _count(self.bins, cell)
        _count(self.hits, cell[best == target])
        _count(self.confidence, cell, weight=1 / total)
        loss = np.log(total) - np.take_along_axis(shifted, target[None].astype(np.int64), 0)[0]
        _count(self.loss, part, weight=loss)

    def place(self, other: "Tally", at: Sequence[int]) -> None:
        """Add the parts of another tally to these positions."""
        for name in self.__slots__:
            getattr(self, name)[list(at)] += getattr(other, name)


def _count(
    into: npt.NDArray[Any], cell: npt.NDArray[np.int64], *, weight: Floats | None = None
) -> None:
    """Add 1, or the weight, to the flat cell of each pixel."""
    into += np.bincount(cell, weight, into.size).reshape(into.shape)


class Labelled(NamedTuple):
    """The pixels of an area that have a label to score.

    Attributes:
        where: (height, width) bool over the area.
        part: of each of them, the position of its part.
        target: of each of them, the class.
    """

    where: npt.NDArray[np.bool_]
    part: npt.NDArray[np.int64]
    target: Codes


class LabelSink:
    """A sink of the engine that wants only what is labelled, and keeps no map.

    Args:
        parts: the windows of each part, disjoint.

    Attributes:
        done: as `engine.Sink`; blocks of the layout without a label to score from the
            start, so that they are not computed.
    """

    def __init__(self, job: MapJob, pair: Pair, parts: Sequence[Sequence[Window]]) -> None:
        assert job.options.logits, "what is kept comes from logits"
        self._pair, self._parts, self._classes = pair, parts, job.classes
        blocks = [block for strip in job.layout.strips(job.plan) for block in strip]
        self.done = {b.index: SeamSums() for b in blocks if self.labelled(b.area) is None}

    def finish(self, block: Block, seams: SeamSums) -> None:
        """A block is through."""
        self.done[block.index] = seams

    def labelled(self, area: Window) -> Labelled | None:
        """Where an area has labels to score; None where it has none.

        Raises:
            LabelError: a label is no class.
        """
        part = np.full((area.height, area.width), -1, np.int64)
        for at, windows in enumerate(self._parts):
            for window in windows:
                shared = intersection(window, area)
                if shared.height and shared.width:
                    here = Window(shared.row - area.row, shared.col - area.col, *shared[2:])
                    part[here.slices] = at
        if (part < 0).all():
            return None
        target = self._pair.labels.read(area)
        where = (part >= 0) & (target != IGNORE)
        if not where.any():
            return None
        highest = int(target[where].max())
        if highest >= self._classes:
            raise LabelError(
                f"the labels of {self._pair.name} hold the code {highest}; the model has the "
                f"classes 0 to {self._classes - 1}; say which codes mean them (--codes)"
            )
        return Labelled(where, part[where], target[where])


class TallySink(LabelSink):
    """Counts what is labelled; `LabelSink` says the rest."""

    def __init__(self, job: MapJob, pair: Pair, parts: Sequence[Sequence[Window]]) -> None:
        super().__init__(job, pair, parts)
        self.tally = Tally.zeros(len(parts), job.classes)
        calibration = job.model.calibration
        self._temperature = calibration.temperature if calibration else 1.0

    def write(self, piece: MapPiece) -> None:
        """Count a piece; it is dropped then."""
        labelled = self.labelled(piece.area)
        if labelled is None or piece.logits is None:
            return
        where, part, target = labelled
        self.tally.add(
            part,
            target,
            piece.classes[where],
            piece.logits[:, where],
            temperature=self._temperature,
        )
