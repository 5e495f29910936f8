"""Losses in which only valid, labelled pixels count."""

import torch.nn.functional as F
from torch import Tensor

from geofm.tasks import IGNORE


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
        target = target.masked_fill(~valid, IGNORE)
    counted = target != IGNORE
    # In float32 under autocast too; a sum, since a mean over no pixel is not a number.
    total = F.cross_entropy(
        logits.float(), target, weight=weight, ignore_index=IGNORE, reduction="sum"
    )
    if weight is None:
        return total / counted.sum().clamp(min=1)
    mass = (weight[target.masked_fill(~counted, 0)] * counted).sum()
    return total / mass.clamp(min=1e-12)
