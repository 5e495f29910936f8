"""What learns: the weights of a model, wherever they lie, their optimizer and their average."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import inf
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from geofm.tiles.dataset import Sample
from geofm.train.average import WeightAverage, lent
from geofm.train.config import TrainingConfig
from geofm.train.optim import Rate, parameter_groups
from geofm.train.spread import all_whole, share_of, whole

Loss = Callable[[Sample, Tensor], Tensor]
"""Of a batch on the model's device, and of what each of its terms is a mean of."""


class _LossModule(nn.Module):
    """A loss as a module's forward, which Lightning wraps."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Sample, counts: Tensor) -> Tensor:
        return self._loss(batch, counts)


class Learner:
    """A model that learns, on one device or on many.

    Spread weights serve the training step alone. So a copy of the model learns there, and the
    model itself is lent its weights, whole, to be scored and looked at; elsewhere the model
    learns itself.

    Args:
        loss: a method of an object that holds ``model``, which is copied with it where a copy
            learns.
        rates: parts of the model with their learning rates.

    Attributes:
        module: the loss, as Lightning wraps it.
    """

    def __init__(
        self,
        fabric: lightning.Fabric,
        model: nn.Module,
        loss: Loss,
        *,
        config: TrainingConfig,
        rates: Sequence[Rate],
    ) -> None:
        self._fabric = fabric
        self._model = model
        self._spread = config.strategy == "fsdp"
        self._clip = config.clip or inf
        own = _LossModule(model, loss)
        own = deepcopy(own) if self._spread else own
        self._live = own.model
        self.module = fabric.setup_module(own)
        groups = parameter_groups(self._parts(rates), weight_decay=config.weight_decay)
        # Fused: one pass over the weights instead of ten.
        self._optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self._highest = [float(group["lr"]) for group in groups]
        self._average = WeightAverage(self._live, decay=config.ema) if config.ema else None

    def _parts(self, rates: Sequence[Rate]) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters that learn, with their rates: of the copy, those of the same names."""
        names = {id(own): name for name, own in self._model.named_parameters()}
        live = dict(self._live.named_parameters())

        def learning(rate: Rate) -> list[nn.Parameter]:
            return [live[names[id(own)]] for own in rate.parameters if own.requires_grad]

        return [(learning(rate), rate.learning_rate) for rate in rates]

    def train(self) -> None:
        """Into training mode."""
        self._live.train()

    def advance(self, step: int, *, share: float) -> Tensor:
        """Go one step along the gradients; returns their norm before clipping.

        Args:
            step: counted from 1.
            share: of the highest learning rates.
        """
        for group, highest in zip(self._optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * share
        norm = self._fabric.clip_gradients(
            self.module, self._optimizer, max_norm=self._clip, error_if_nonfinite=False
        )
        assert norm is not None
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            self._average.update(self._live, step)
        return whole(norm)

    @property
    def rate(self) -> float:
        """The highest learning rate of the last step."""
        return max(float(group["lr"]) for group in self._optimizer.param_groups)

    def weights(self) -> dict[str, Tensor]:
        """Those that would come back now, whole. All processes must ask."""
        return all_whole(self._average.weights if self._average else self._live.state_dict())

    @contextmanager
    def lent(self) -> Iterator[dict[str, Tensor]]:
        """The model with the weights that would come back now, which are given, to be used."""
        weights = self.weights()
        self._model.to(self._fabric.device).eval()
        with lent(self._model, weights), torch.no_grad(), self._fabric.autocast():
            yield weights
        if self._spread:
            self._model.cpu()
        else:
            self._model.train()

    def give_back(self, weights: dict[str, Tensor]) -> None:
        """Leave these weights in the model, on the CPU."""
        self._model.load_state_dict(weights)
        self._model.requires_grad_(True).cpu().eval()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, on any number of devices. All processes must ask."""
        return {
            "model": all_whole(self._live.state_dict()),
            "optimizer": all_whole(self._optimizer.state_dict()),
            "average": all_whole(self._average.weights) if self._average else {},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` was earlier."""
        live = self._live.state_dict()
        self._live.load_state_dict(
            {name: share_of(tensor, live[name]) for name, tensor in state["model"].items()}
        )
        groups = self._optimizer.param_groups
        learning = [weight for group in groups for weight in group["params"]]
        for number, known in state["optimizer"]["state"].items():
            for name, value in known.items():
                if value.shape == learning[number].shape:  # and no count of steps
                    known[name] = share_of(value, learning[number])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load(state["average"])
