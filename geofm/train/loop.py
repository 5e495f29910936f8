"""The training loop, on Lightning Fabric: a model, its objective and samples in; weights out."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from geofm.errors import ConfigError
from geofm.tiles.dataset import Sample
from geofm.train.config import TrainingConfig
from geofm.train.optim import parameter_groups, warmup_cosine

Progress = Callable[[float, str], None]
"""Is told the share done, 0 to 1, and what is being done."""


def part_of(progress: Progress | None, start: float, stop: float) -> Progress:
    """A progress of one part of the work, which fills ``start`` to ``stop`` of the whole."""

    def tell(done: float, text: str) -> None:
        if progress:
            progress(start + done * (stop - start), text)

    return tell


class Samples(Protocol):
    """Samples by index; each is a function of its index alone."""

    def __getitem__(self, index: int, /) -> Sample: ...


class Objective(Protocol):
    """What is made small: a sum of means over pixels, whose sums and counts are kept apart.

    A mean over the pixels of a step is not the mean of its parts' means where
    the parts hold different numbers of valid pixels. So the loop counts first,
    over all parts on all machines, and each part then divides by the whole.
    """

    def count(self, batch: Sample) -> Tensor:
        """What each term of the loss is a mean of, (terms,) float64.

        From data alone; runs on the CPU, before any forward pass.
        """
        ...

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """Scalar: over terms, the sum over this batch by ``counts`` (terms,) of the whole step.

        Runs on the model's device. ``counts`` is 1 or more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """A part of the model, or some of its weights, and their highest learning rate; 0 freezes."""

    part: nn.Module | Iterable[nn.Parameter]
    learning_rate: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.part.parameters() if isinstance(self.part, nn.Module) else self.part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What training came to.

    Attributes:
        loss: mean of the last tenth of the steps.
        steps: that were taken.
        losses: of every step.
    """

    loss: float
    steps: int
    losses: tuple[float, ...]


def fit(
    model: nn.Module,
    objective: Objective,
    dataset: Samples,
    *,
    config: TrainingConfig,
    rates: Sequence[Rate],
    what: str = "training",
    progress: Progress | None = None,
) -> Fitted:
    """Train in place; the model comes back in evaluation mode, on the CPU.

    Step ``s`` learns from samples ``s * batch_size`` to ``(s + 1) * batch_size - 1``.

    Args:
        model: holds every weight that the objective uses.
        objective: of a batch, collated from samples.
        dataset: ``steps * batch_size`` samples.
        config: steps, learning rate's course and clipping.
        rates: parts of the model with their learning rates.
        what: the work, in the words that progress is told.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        ConfigError: the loss is no longer a number.
    """
    # Lightning announces its devices and its makers' services at INFO.
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Setting what is set already also stops MKL from taking fewer threads on a busy
    # machine, and with them another order of sums.
    torch.set_num_threads(torch.get_num_threads())
    for rate in rates:
        for parameter in rate.parameters:
            parameter.requires_grad_(rate.learning_rate > 0)
    groups = parameter_groups(
        [(rate.parameters, rate.learning_rate) for rate in rates],
        weight_decay=config.weight_decay,
    )
    fabric = lightning.Fabric(accelerator="auto", devices=1)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    highest = [group["lr"] for group in optimizer.param_groups]
    step_module, stepper = fabric.setup(_Loss(model, objective), optimizer)
    model.train()
    warmup = round(config.warmup * config.steps)
    losses: list[float] = []
    for step in range(config.steps):
        parts = list(_parts(dataset, step, config))
        counts = torch.stack([objective.count(part) for part in parts]).sum(0)
        counts = fabric.to_device(counts.clamp(min=1).float())
        share = warmup_cosine(step, steps=config.steps, warmup=warmup)
        for group, rate_ in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate_ * share
        loss = 0.0
        for part in parts:
            part_loss = step_module(fabric.to_device(part), counts)
            fabric.backward(part_loss)
            loss += float(part_loss.detach())
        if not isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} at step {step + 1}; lower the learning rate "
                f"(now {config.learning_rate:g}), or keep clipping on"
            )
        if config.clip:
            fabric.clip_gradients(step_module, stepper, max_norm=config.clip)
        stepper.step()
        stepper.zero_grad()
        losses.append(loss)
        if progress:
            progress((step + 1) / config.steps, f"{what}, loss {_tail(losses, config):.3f}")
    model.requires_grad_(True).cpu().eval()
    return Fitted(loss=_tail(losses, config), steps=config.steps, losses=tuple(losses))


class _Loss(nn.Module):
    """The objective as a module's forward, which Lightning wraps."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Sample, counts: Tensor) -> Tensor:
        return self.objective.loss(batch, counts)


def _parts(dataset: Samples, step: int, config: TrainingConfig) -> Iterator[Sample]:
    """The micro-batches of a step."""
    size = config.batch_size // config.accumulate
    first = step * config.batch_size
    for start in range(first, first + config.batch_size, size):
        batch: Sample = default_collate([dataset[i] for i in range(start, start + size)])
        yield batch


def _tail(losses: list[float], config: TrainingConfig) -> float:
    tail = losses[-max(config.steps // 10, 1) :]
    return sum(tail) / len(tail)
