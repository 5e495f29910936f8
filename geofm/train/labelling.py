"""Segmentation as an objective of training, and as a score of validation areas."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from geofm.contract import PixelContract
from geofm.model.losses import Term, counts, mean_loss, only_valid
from geofm.model.metrics import confusion_matrix, mean_iou
from geofm.model.segmenter import Segmenter
from geofm.tiles.dataset import Sample
from geofm.tiles.labelled import FixedWindows
from geofm.train.inputs import normalise_batch


class Labelling:
    """The objective (`geofm.train.loop.Objective`): a loss over labelled, valid pixels."""

    def __init__(
        self, segmenter: Segmenter, contract: PixelContract, terms: Sequence[Term]
    ) -> None:
        self.segmenter = segmenter
        self.contract = contract
        self.terms = terms

    def count(self, batch: Sample) -> Tensor:
        """What each term is a mean of, (terms,)."""
        return counts(self.terms, scored_target(batch, self.contract))

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """The batch's share of the loss."""
        logits = self.segmenter(normalise_batch(batch, self.contract))
        return mean_loss(self.terms, logits, scored_target(batch, self.contract), counts)


class ValidationScore:
    """Mean IoU on windows that together show each labelled pixel once.

    Over the classes that are labelled or predicted there: an absent class takes
    no part, and the score is always a number.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        contract: PixelContract,
        windows: FixedWindows,
        *,
        classes: int,
        batch_size: int,
    ) -> None:
        self.segmenter = segmenter
        self.contract = contract
        self.windows = windows
        self.classes = classes
        # A batch of one computes in another order than any other.
        self.batch_size = max(batch_size, 2)

    def __call__(self) -> float:
        device = next(self.segmenter.parameters()).device
        confusion = np.zeros((self.classes, self.classes), np.int64)
        for first in range(0, len(self.windows), self.batch_size):
            numbers = range(first, min(first + self.batch_size, len(self.windows)))
            batch: Sample = default_collate([self.windows[number] for number in numbers])
            x = normalise_batch(Sample(*(part.to(device) for part in batch)), self.contract)
            found = self.segmenter(x).argmax(dim=1).cpu()
            target = scored_target(batch, self.contract)
            confusion += confusion_matrix(found, target, classes=self.classes)
        return float(mean_iou(confusion))


def scored_target(batch: Sample, contract: PixelContract) -> Tensor:
    """Class codes (B, H, W), `IGNORE` where too few dates are valid."""
    return only_valid(batch.target, batch.valid.sum(dim=1) >= contract.min_valid_dates)
