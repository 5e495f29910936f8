"""The moving average of a model's weights, which often maps better than the last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from geofm.train.spread import share_of


class WeightAverage:
    """An exponential moving average of weights and of what layers have measured.

    After step ``s`` (from 1) it is ``d * average + (1 - d) * weights`` with
    ``d = min(decay, (1 + s) / (10 + s))``: short trainings must not keep their
    random start. Whole numbers, such as counts, are the last ones.

    Args:
        decay: 0 to below 1; 0.999 averages over about 1000 steps.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.weights = weights_of(model)

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for name, live in model.state_dict().items():
            if live.is_floating_point():
                self.weights[name].lerp_(live, 1 - kept)
            else:
                self.weights[name].copy_(live)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from what ``weights`` was earlier."""
        for name, tensor in self.weights.items():
            tensor.copy_(share_of(weights[name], tensor))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a model has learned."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@contextmanager
def lent(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """A model with other weights for a while."""
    own = weights_of(model)
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)
