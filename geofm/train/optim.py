"""Learning rates of a model's parts, AdamW's parameter groups, and the rate's course."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Rate:
    """A part of the model, or some of its weights, and their highest learning rate; 0 freezes."""

    part: nn.Module | Iterable[nn.Parameter]
    learning_rate: float

    def __post_init__(self) -> None:
        if not isinstance(self.part, nn.Module):
            # `Module.parameters()` can be read only once, and would train nothing after.
            object.__setattr__(self, "part", tuple(self.part))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.part.parameters() if isinstance(self.part, nn.Module) else self.part)


def parameter_groups(
    parts: Iterable[tuple[Iterable[nn.Parameter], float]], *, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: weights decay, biases, norms and single tokens do not.

    Args:
        parts: parameters with their learning rate; frozen ones are left out.
        weight_decay: of parameters that hold more than one vector.
    """
    groups = []
    for part, rate in parts:
        parameters = [p for p in part if p.requires_grad]
        for decays in (True, False):
            # A class token of shape (1, 1, D) is one vector, and no matrix.
            chosen = [p for p in parameters if (p.numel() > max(p.shape, default=1)) == decays]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "lr": rate,
                        "weight_decay": weight_decay if decays else 0.0,
                    }
                )
    return groups


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Share of the highest learning rate at a step: a straight rise, then half a cosine.

    Args:
        step: from 0.
        steps: of the whole training; the rate would reach 0 at this one.
        warmup: steps of the rise; the highest rate comes right after it.

    >>> [round(warmup_cosine(s, steps=6, warmup=2), 2) for s in range(7)]
    [0.33, 0.67, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + cos(pi * (step - warmup) / max(steps - warmup, 1)))
