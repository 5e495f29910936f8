"""Do probabilities hold? Confidence against what came true, and errors by share of the map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.tally import Tally
from geofm.model.metrics import MIN_BLOCKS, Counts, Floats

BINS = 15
"""Bins of equal numbers of pixels, as far as ties allow."""
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pixels of like confidence.

    Attributes:
        confidence: their mean.
        accuracy: share of them that is right; as large as ``confidence`` if that holds.
        error: standard error of the difference, from how it varies between blocks; None
            with too few of them.
        share: of all pixels.
    """

    confidence: float
    accuracy: float
    error: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether the probability of the best class is the share of pixels that are right.

    Attributes:
        bins: of equal numbers of pixels, from the least confident on.
        ece: expected calibration error: mean distance between confidence and accuracy over
            the bins (Naeini et al. 2015); chance alone makes it larger than 0.
        ece_debiased: the same with each bin's squared distance lessened by its squared
            standard error; None with too few blocks to know that.
        nll: mean negative log probability of the labels.
        risk: shares of the pixels, the most confident first, and the share of these that is
            wrong: what to expect of a map that leaves the rest unsure.
    """

    bins: tuple[Bin, ...]
    ece: float
    ece_debiased: float | None
    nll: float
    risk: tuple[tuple[float, float], ...]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "ece": round(self.ece, 6),
            "ece_debiased": None if self.ece_debiased is None else round(self.ece_debiased, 6),
            "nll": round(self.nll, 6),
            "bins": [
                {
                    "confidence": round(b.confidence, 6),
                    "accuracy": round(b.accuracy, 6),
                    "error": None if b.error is None else round(b.error, 6),
                    "share": round(b.share, 6),
                }
                for b in self.bins
            ],
            "risk": [{"share": share, "wrong": round(wrong, 6)} for share, wrong in self.risk],
        }


def reliability_of(tally: Tally, unit: npt.NDArray[np.int64]) -> Reliability:
    """Reliability of all pixels that have logits, named or held back.

    Args:
        unit: (R,) the group, chip or block that each part of the tally belongs to.
    """
    total = tally.bins.sum(axis=0)
    edges = _equal_bins(total)
    sums = [_merge(values, unit, edges) for values in (tally.bins, tally.hits, tally.confidence)]
    count, hits, confidence = (values.sum(axis=0) for values in sums)
    errors = _errors(*sums)
    gaps = (confidence - hits) / count
    shares = count / count.sum()
    debiased = (
        None
        if errors is None
        else float((shares * np.sqrt(np.maximum(gaps**2 - errors**2, 0))).sum())
    )
    return Reliability(
        bins=tuple(
            Bin(
                float(confidence[b] / count[b]),
                float(hits[b] / count[b]),
                None if errors is None else float(errors[b]),
                float(shares[b]),
            )
            for b in range(len(count))
        ),
        ece=float((shares * np.abs(gaps)).sum()),
        ece_debiased=debiased,
        nll=float(tally.loss.sum() / total.sum()),
        risk=_risk(total, tally.hits.sum(axis=0)),
    )


def _equal_bins(total: Counts) -> npt.NDArray[np.int64]:
    """The coarse bin of each fine bin: (fine bins,), numbered without holes; -1 where empty."""
    middle = np.cumsum(total) - total / 2
    coarse = np.minimum((middle / max(total.sum(), 1) * BINS).astype(np.int64), BINS - 1)
    filled = total > 0
    edges = np.full(len(total), -1, np.int64)
    edges[filled] = np.unique(coarse[filled], return_inverse=True)[1]
    return edges


def _merge(
    values: npt.NDArray[Any], unit: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]
) -> Floats:
    """Sums (R, fine bins) by unit and coarse bin: (U, bins)."""
    filled = edges >= 0
    merged = np.zeros((int(unit.max()) + 1, int(edges.max()) + 1))
    np.add.at(merged, (unit[:, None], edges[None, filled]), values[:, filled])
    return merged


def _errors(count: Floats, hits: Floats, confidence: Floats) -> Floats | None:
    """Standard error of each bin's distance (bins,), pixels of a unit erring together.

    Args:
        count, hits, confidence: (U, bins).
    """
    used = int((count.sum(axis=1) > 0).sum())
    if used < MIN_BLOCKS:
        return None
    gap = (confidence - hits).sum(axis=0) / count.sum(axis=0)
    residual = confidence - hits - gap * count
    spread = (residual**2).sum(axis=0) * used / (used - 1)
    errors: Floats = np.sqrt(spread) / count.sum(axis=0)
    return errors


def _risk(total: Counts, hits: Counts) -> tuple[tuple[float, float], ...]:
    """Share of wrong pixels among the most confident; within a fine bin, evenly mixed."""
    count = np.concatenate([[0], np.cumsum(total[::-1])])
    wrong = np.concatenate([[0], np.cumsum((total - hits)[::-1])])
    shares = ((share, share * count[-1]) for share in SHARES)
    return tuple(
        (share, float(np.interp(pixels, count, wrong) / pixels)) for share, pixels in shares
    )
