"""Losses in which only valid, labelled pixels count.

A loss is a mean: of pixels for cross-entropy and focal loss, of samples for
dice. A term gives its sum and its count apart, so that the parts of a batch,
on whatever devices, add up to the loss of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from geofm.tasks import IGNORE

LossKind = Literal["ce", "focal", "dice", "ce+dice"]
Weights = tuple[float, ...] | None

# Far below the weight of one pixel; a mean over nothing is then 0, with a gradient of 0.
_NOTHING = 1e-12


class Term(Protocol):
    """A loss as sum and count; targets (B, H, W) are integer class codes or `IGNORE`."""

    def count(self, target: Tensor) -> Tensor:
        """What the mean is taken over: () float64, from the labels alone."""
        ...

    def total(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum over it, of logits (B, K, H, W) in any precision: () float32."""
        ...


def loss_terms(kind: LossKind, *, weights: Weights = None, gamma: float = 2.0) -> tuple[Term, ...]:
    """The terms that a loss adds up.

    Args:
        kind: ``"ce"``, ``"focal"``, ``"dice"``, or ``"ce+dice"`` for the sum of both.
        weights: of each class, K; means are weighted by it. None for all alike.
        gamma: of the focal loss.
    """
    match kind:
        case "ce":
            return (PixelLoss(weights),)
        case "focal":
            return (PixelLoss(weights, gamma),)
        case "dice":
            return (DiceLoss(weights),)
        case "ce+dice":
            return (PixelLoss(weights), DiceLoss(weights))


def counts(terms: Sequence[Term], target: Tensor) -> Tensor:
    """What each term is a mean of: (terms,) float64."""
    return torch.stack([term.count(target) for term in terms])


def mean_loss(terms: Sequence[Term], logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The loss of a part of a batch whose ``counts`` were ``counted`` (terms,) in all."""
    totals = torch.stack([term.total(logits, target) for term in terms])
    return (totals / counted.clamp(min=_NOTHING).to(totals)).sum()


@dataclass(frozen=True, slots=True)
class PixelLoss:
    """Cross-entropy of labelled pixels, or focal loss (Lin et al. 2017, arXiv:1708.02002).

    Attributes:
        weights: of each class, K, or None.
        gamma: each pixel counts ``(1 - p) ** gamma``, p the probability of its
            label, so that what is learnt already weighs little; 0 is cross-entropy.
    """

    weights: Weights = None
    gamma: float = 0.0

    def count(self, target: Tensor) -> Tensor:
        """Labelled pixels, each with the weight of its class."""
        return _pixel_weights(target, self.weights, torch.float64).sum()

    def total(self, logits: Tensor, target: Tensor) -> Tensor:
        """As `Term.total`."""
        entropy = F.cross_entropy(
            logits.float(), target.long(), ignore_index=IGNORE, reduction="none"
        )
        if self.gamma:
            # entropy is -log p, and p below 1 keeps the power's slope a number.
            entropy = entropy * (-torch.expm1(-entropy)).clamp(min=_NOTHING) ** self.gamma
        return (entropy * _pixel_weights(target, self.weights, torch.float32)).sum()


@dataclass(frozen=True, slots=True)
class DiceLoss:
    """1 - the soft Dice overlap (Milletari et al. 2016, arXiv:1606.04797).

    The overlap is that of each sample and class, over the sample's labelled
    pixels; a sample's loss is the mean over the classes that its labels hold, the
    whole loss the mean over samples with labels. A class that a sample lacks has
    no overlap; pixels wrongly given to it are missing in the others, and so cost.

    Attributes:
        weights: of each class, K, or None.
    """

    weights: Weights = None

    def count(self, target: Tensor) -> Tensor:
        """Samples with a labelled pixel."""
        return (target != IGNORE).flatten(1).any(dim=1).double().sum()

    def total(self, logits: Tensor, target: Tensor) -> Tensor:
        """As `Term.total`."""
        labelled = target != IGNORE
        classes = logits.shape[1]
        shares = logits.float().softmax(dim=1) * labelled.unsqueeze(1)
        truth = F.one_hot(target.long().masked_fill(~labelled, 0), classes).movedim(-1, 1)
        truth = truth * labelled.unsqueeze(1)
        both = (shares * truth).flatten(2).sum(dim=2)
        area = truth.flatten(2).sum(dim=2)  # (B, K), labelled pixels
        overlap = 2 * both / (shares.flatten(2).sum(dim=2) + area).clamp(min=_NOTHING)
        weight = (area > 0).float()
        if self.weights is not None:
            weight = weight * torch.tensor(self.weights, device=logits.device)
        lost = (weight * (1 - overlap)).sum(dim=1) / weight.sum(dim=1).clamp(min=_NOTHING)
        return lost.sum()


def _pixel_weights(target: Tensor, weights: Weights, dtype: torch.dtype) -> Tensor:
    """(B, H, W): the weight of each pixel's class, 0 where there is no label."""
    labelled = (target != IGNORE).to(dtype)
    if weights is None:
        return labelled
    table = torch.tensor(weights, dtype=dtype, device=target.device)
    return table[target.long().masked_fill(target == IGNORE, 0)] * labelled


def only_valid(target: Tensor, valid: Tensor) -> Tensor:
    """Class codes (B, H, W), `IGNORE` where ``valid`` (B, H, W) is false."""
    return target.masked_fill(~valid, IGNORE)


def cross_entropy(
    logits: Tensor, target: Tensor, *, valid: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0, with a gradient, where there are none.

    Args:
        logits: (B, K, H, W).
        target: (B, H, W) integer class codes; `IGNORE` is not counted.
        valid: (B, H, W) bool; others are not counted either.
        weight: (K,) of each class; the mean is weighted by it.
    """
    target = target.long()
    if valid is not None:
        target = only_valid(target, valid)
    terms = (PixelLoss(None if weight is None else tuple(weight.tolist())),)
    return mean_loss(terms, logits, target, counts(terms, target))


def balanced_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """Weights of classes by the root of their rarity; of a labelled pixel, 1 on average.

    The root stands between all pixels alike, where a rare class is hardly met,
    and all classes alike, where it is mapped too often. A class without a pixel
    gets the weight of one with a single pixel: it is used by none.

    Args:
        pixels: labelled, valid pixels of each class, K.

    >>> [round(weight, 2) for weight in balanced_weights([900, 100])]
    [0.83, 2.5]
    """
    raw = [max(count, 1) ** -0.5 for count in pixels]
    total = sum(count * weight for count, weight in zip(pixels, raw, strict=True))
    return tuple(weight * sum(pixels) / max(total, _NOTHING) for weight in raw)
