"""Blend the logits of overlapping windows, then turn finished pixels into classes.

Every operation here is one correctly rounded step a pixel, in an order that follows
from the plan alone, so a pixel's bytes do not depend on the block it fell into.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geofm.errors import SceneError
from geofm.model.calibration import Calibration
from geofm.predict.plan import WindowPlan
from geofm.scenes.window import Window
from geofm.tasks import NODATA, UNSURE

PROBABILITY_STEPS = 250
"""Steps of a stored probability: a byte holds ``probability / 0.004``."""
# Differences of probabilities are summed as integers of this fraction: integer
# sums do not depend on the order, so every layout reports the same seam score.
_SEAM_UNIT = 2**24


class BlendBuffer:
    """Weighted sums of logits over the pixels that are not finished yet.

    Covers ``area`` of the grid, (K, area.height, area.width) float32 on ``device``.
    """

    def __init__(self, plan: WindowPlan, area: Window, classes: int, device: torch.device) -> None:
        self.area = area
        self.sums = torch.zeros((classes, area.height, area.width), device=device)
        weight = torch.from_numpy(plan.weight).to(device)
        self._weight = weight[:, None] * weight[None, :]
        self._weighted = torch.empty((classes, plan.size, plan.size), device=device)
        self._row_norm = torch.from_numpy(plan.row_norm).to(device)
        self._col_norm = torch.from_numpy(plan.col_norm).to(device)

    def add(self, window: Window, logits: Tensor) -> None:
        """Add one window's logits (K, size, size), in plan order; the part outside is dropped."""
        row, col = max(window.row, self.area.row), max(window.col, self.area.col)
        stop_row = min(window.stop_row, self.area.stop_row)
        stop_col = min(window.stop_col, self.area.stop_col)
        seen = (
            slice(row - window.row, stop_row - window.row),
            slice(col - window.col, stop_col - window.col),
        )
        weighted = self._weighted[:, : stop_row - row, : stop_col - col]
        torch.mul(logits[:, *seen], self._weight[seen], out=weighted)
        here = self._slices(Window(row, col, stop_row - row, stop_col - col))
        self.sums[:, *here] += weighted

    def blended(self, area: Window) -> Tensor:
        """The mean logits of finished pixels, (K, height, width), a copy."""
        rows, cols = area.slices
        norm = self._row_norm[rows][:, None] * self._col_norm[cols][None, :]
        return self.sums[:, *self._slices(area)] / norm

    def move_down(self, area: Window) -> None:
        """Cover ``area``, further down, keeping the sums of the rows that both share."""
        shared = max(self.area.stop_row - area.row, 0)
        kept = self.sums[:, self.area.height - shared :].clone()
        if area.height != self.area.height:
            self.sums = self.sums.new_empty((len(self.sums), area.height, area.width))
        self.sums[:, :shared] = kept
        self.sums[:, shared:] = 0
        self.area = area

    def _slices(self, area: Window) -> tuple[slice, slice]:
        row, col = area.row - self.area.row, area.col - self.area.col
        return slice(row, row + area.height), slice(col, col + area.width)


@dataclass(frozen=True, slots=True)
class SeamSums:
    """Summed differences of probabilities between neighbours, across window edges and elsewhere."""

    edge_sum: int = 0
    edge_count: int = 0
    other_sum: int = 0
    other_count: int = 0

    def __add__(self, other: "SeamSums") -> "SeamSums":
        return SeamSums(
            self.edge_sum + other.edge_sum,
            self.edge_count + other.edge_count,
            self.other_sum + other.other_sum,
            self.other_count + other.other_count,
        )

    @property
    def score(self) -> float | None:
        """Mean difference across edges over that elsewhere: 1 means no seams; None if no edges."""
        if not self.edge_count or not self.other_count or not self.other_sum:
            return None
        return (self.edge_sum / self.edge_count) / (self.other_sum / self.other_count)


def probabilities_of(logits: Tensor) -> Tensor:
    """Softmax over the classes of (K, height, width), in one order on every shape."""
    probabilities = logits.clone(memory_format=torch.contiguous_format)
    _into_probabilities(probabilities, logits.amax(0))
    return probabilities


def _into_probabilities(logits: Tensor, highest: Tensor) -> Tensor:
    """Turn logits (K, height, width) into probabilities in place; returns the highest ones.

    Args:
        highest: (height, width), the largest logit of each pixel.
    """
    total = _sum_of_planes(logits.sub_(highest).exp_())
    logits.div_(total)
    # The exponential of the highest is exactly 1.
    return 1.0 / total


def _sum_of_planes(values: Tensor) -> Tensor:
    """The sum over the classes of (K, height, width), from the first to the last.

    ``torch.sum`` and ``torch.softmax`` add in an order that depends on the layout.
    """
    total = values[0].clone()
    for plane in values[1:]:
        total += plane
    return total


def _first_at(logits: Tensor, highest: Tensor) -> Tensor:
    """The first class (height, width) uint8 whose logit is the highest.

    As ``argmax``, which walks over the classes of one pixel after another: on a CPU
    many times slower than planes compared as wholes.
    """
    count = len(logits)
    ranks = torch.arange(count, 0, -1, dtype=torch.uint8, device=logits.device)
    ranked = (logits == highest).view(torch.uint8).mul_(ranks[:, None, None])
    return ranked.amax(0).neg_().add_(count)


def seam_sums(
    probabilities: Tensor, valid: Tensor, plan: WindowPlan, area: Window, owned: Window
) -> SeamSums:
    """Differences between each owned pixel and the one above and before it.

    Args:
        probabilities: (K, height, width) over ``area``.
        valid: (height, width) bool over ``area``.
        area: ``owned`` with one row above and one column before it, where there are any.
        owned: the pixels that are counted here and nowhere else.
    """
    top, left = owned.row - area.row, owned.col - area.col
    device = probabilities.device
    row_edges = torch.from_numpy(plan.row_edges[area.row + 1 : area.stop_row]).to(device)
    col_edges = torch.from_numpy(plan.col_edges[area.col + 1 : area.stop_col]).to(device)
    across = _pair_sums(
        probabilities[:, top:, 1:],
        probabilities[:, top:, :-1],
        valid[top:, 1:] & valid[top:, :-1],
        col_edges[None, :],
    )
    down = _pair_sums(
        probabilities[:, 1:, left:],
        probabilities[:, :-1, left:],
        valid[1:, left:] & valid[:-1, left:],
        row_edges[:, None],
    )
    return across + down


def _pair_sums(here: Tensor, before: Tensor, pairs: Tensor, edges: Tensor) -> SeamSums:
    difference = _sum_of_planes((here - before).abs_())
    units = (difference * (_SEAM_UNIT / len(here))).round_().to(torch.int64)
    units.masked_fill_(~pairs, 0)
    at_edge = pairs & edges
    edge_sum, edge_count = int((units * edges).sum()), int(at_edge.sum())
    return SeamSums(
        edge_sum, edge_count, int(units.sum()) - edge_sum, int(pairs.sum()) - edge_count
    )


@dataclass(frozen=True, slots=True)
class MapPiece:
    """Finished pixels of a map, and what their borders add to the seam score.

    Attributes:
        area: where they lie in the grid.
        classes: (height, width) uint8, classes and codes.
        confidence: (height, width) uint8, probability of the class in percent, 255 no data.
        probabilities: (K, height, width) uint8, steps of 0.004, 255 no data; None if not asked.
        logits: (K, height, width) float32, blended, before any temperature; None if not asked.
    """

    area: Window
    classes: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.uint8] | None
    logits: npt.NDArray[np.float32] | None
    seams: SeamSums

    @property
    def mapped(self) -> npt.NDArray[np.bool_]:
        """Pixels (height, width) that have logits: a class, or unsure."""
        return self.classes <= UNSURE


def finish_piece(
    buffer: BlendBuffer,
    codes: npt.NDArray[np.uint8],
    *,
    plan: WindowPlan,
    area: Window,
    owned: Window,
    calibration: Calibration,
    keep_probabilities: bool,
    keep_logits: bool,
) -> MapPiece:
    """Turn the finished sums of ``owned`` into the bytes of a map.

    The temperature divides the blended logits: a blend is a weighted mean, so dividing
    each window's logits would give the same, one rounding a window later.

    Args:
        codes: (area.height, area.width), 0 where a pixel is mapped, else its code.
        area, owned: as `seam_sums`.
        keep_probabilities, keep_logits: whether to return those of every class.

    Raises:
        SceneError: a pixel to map has no probabilities, because numbers overflowed.
    """
    logits = buffer.blended(area)
    valid = torch.from_numpy(codes == 0).to(logits.device)
    inner = (slice(owned.row - area.row, None), slice(owned.col - area.col, None))
    kept = logits[:, *inner].cpu().numpy().copy() if keep_logits else None
    # Classes come of the logits, not the probabilities: those may be equal after rounding,
    # and a temperature must change no class.
    highest = logits.amax(0)
    classes = _first_at(logits, highest)[inner]
    if calibration.temperature != 1:
        logits.div_(calibration.temperature)
        highest.div_(calibration.temperature)
    best = _into_probabilities(logits, highest)[inner]
    probabilities = logits
    seams = seam_sums(probabilities, valid, plan, area, owned)

    codes, probabilities = codes[inner], probabilities[:, *inner]
    if bool((best.isnan() & valid[inner]).any()):
        # One pixel far from any reflectance spoils every window that sees it.
        raise SceneError(
            f"the model's answer is not a number in rows {owned.row} to {owned.stop_row}, columns "
            f"{owned.col} to {owned.stop_col}; likely a fill that nobody declared: give nodata= "
            "(geofm info SCENE), or damaged weights"
        )
    stored = None
    if keep_probabilities:
        stored = (probabilities * PROBABILITY_STEPS).round_().to(torch.uint8).cpu().numpy()
        stored[:, codes != 0] = NODATA
    if calibration.unsure_below is not None:
        classes.masked_fill_(best < calibration.unsure_below, UNSURE)
    confidence = (best * 100).round_().to(torch.uint8).cpu().numpy()
    return MapPiece(
        area=owned,
        classes=np.where(codes == 0, classes.cpu().numpy(), codes),
        confidence=np.where(codes == 0, confidence, np.uint8(NODATA)),
        probabilities=stored,
        logits=kept,
        seams=seams,
    )
