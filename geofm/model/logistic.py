"""Multinomial logistic regression: the plainest reader of features, so that features are judged.

Its one setting, how strongly weights are held near 0, is chosen on training pixels alone.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the penalty, from strong to weak; for features of deviation 1."""
_TOKEN_SHARES = (1.0, 0.1, 0.01, 0.0)
_MOST_ROUNDS = 40
# A class that one half has never seen must not cost that half everything.
_LEAST = 1e-3


class Linear(NamedTuple):
    """Features (n, D) to logits (n, K): ``features @ weight + bias``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (n, K)."""
        return features @ self.weight + self.bias


def fit_logistic(
    features: Tensor,
    target: Tensor,
    halves: Tensor,
    *,
    classes: int,
    trusts: Sequence[Tensor] = (),
) -> tuple[Linear, float]:
    """Fit by maximum likelihood with a squared penalty on the weights.

    Each half of the pixels is read by what the other taught; what reads best (least
    log loss) of all strengths and trusts fits them all.

    Args:
        features: (n, D) float32.
        target: (n,) class codes.
        halves: (n,) bool; the two halves should not be neighbours of each other. Where
            one of them is empty or of a single class, the middle strength is taken.
        classes: K.
        trusts: each (D,): deviations that features are given; the smaller, the harder the
            penalty holds their weights. 1 for all where there are none.

    Returns:
        The map, and the strength that was chosen.
    """
    target, scales = target.long(), trusts or (torch.ones(features.shape[1]),)
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    # A feature that never varies says nothing, and is not to be blown up.
    unit = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
    features = (features - mean) * unit
    parts = [(features[half], target[half]) for half in (halves, ~halves)]
    best = scales[0], STRENGTHS[len(STRENGTHS) // 2]
    if all((torch.bincount(codes) > 0).sum() > 1 for _, codes in parts):
        found = {
            (number, strength): loss
            for number, scale in enumerate(scales)
            for strength, loss in _losses(parts, scale, classes=classes)
        }
        number, strength = min(found, key=found.__getitem__)
        best = scales[number], strength
    scale, strength = best
    used = scale > 0
    strong = [s for s in STRENGTHS if s >= strength]
    *_, (fitted, bias) = _path(features[:, used] * scale[used], target, strong, classes=classes)
    weight = torch.zeros(len(scale), classes)
    weight[used] = fitted * (scale * unit)[used, None]
    return Linear(weight, bias - mean @ weight), strength


def _losses(
    parts: Sequence[tuple[Tensor, Tensor]], scale: Tensor, *, classes: int
) -> Iterator[tuple[float, float]]:
    """Strengths, and the log loss of both halves, each read by the other's fit."""
    used = scale > 0
    halves = [(features[:, used] * scale[used], codes) for features, codes in parts]
    paths = [_path(*half, STRENGTHS, classes=classes) for half in halves]
    for strength, fits in zip(STRENGTHS, zip(*paths, strict=True), strict=True):
        loss = 0.0
        for fitted, (features, codes) in zip(fits, halves[::-1], strict=True):
            share = F.softmax(fitted(features), dim=1).gather(1, codes[:, None])
            loss -= float(share.clamp(min=_LEAST).log().sum())
        yield strength, loss


def token_trusts(tokens: int, bands: int) -> list[Tensor]:
    """Deviations (tokens + bands,) to choose from: how much tokens weigh beside bands.

    As much in all, however many features they have, down to not at all: a few labels may not
    bear so many features, and then the bands should not suffer for it.
    """
    even = torch.cat([torch.full((tokens,), (bands / tokens) ** 0.5), torch.ones(bands)])
    found = [even.clone() for _ in _TOKEN_SHARES]
    for trust, share in zip(found, _TOKEN_SHARES, strict=True):
        trust[:tokens] *= share
    return found


def _path(
    features: Tensor, target: Tensor, strengths: Sequence[float], *, classes: int
) -> Iterator[Linear]:
    """A fit for each strength, each begun where the one before ended.

    Along the axes in which features vary together, a step of one length is about right
    for all weights: a tenth of the rounds that it takes along the features themselves.
    """
    count = len(features)
    middle = features.mean(dim=0)  # of a half it is not 0
    spread, axes = torch.linalg.eigh((features - middle).T @ (features - middle) / count)
    turned = (features - middle) @ axes
    wanted = F.one_hot(target, classes).float()
    # The best map of nothing but the bias: the shares of the classes.
    bias = ((wanted.sum(dim=0) + 0.5) / (count + 0.5 * classes)).log()
    weight = torch.zeros(features.shape[1], classes)
    for strength in strengths:
        unit = (spread.clamp(min=0) / 4 + strength).rsqrt()[:, None]
        weight, bias = _climb(turned, wanted, weight / unit, bias, unit=unit, strength=strength)
        straight = axes @ weight
        yield Linear(straight, bias - middle @ straight)


def _climb(
    features: Tensor,
    wanted: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    unit: Tensor,
    strength: float,
) -> tuple[Tensor, Tensor]:
    """The best weights (D, K), which are ``weight`` times ``unit``, and bias (K,)."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MOST_ROUNDS,
        tolerance_grad=1e-4,
        tolerance_change=1e-6,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        true = weight.detach() * unit
        logits = features @ true + bias.detach()
        logs = F.log_softmax(logits, dim=1)
        # By hand: the graph of a product this flat costs more than the product.
        slope = (logs.exp() - wanted) / len(features)
        weight.grad = (features.T @ slope + strength * true) * unit
        bias.grad = slope.sum(dim=0)
        return strength / 2 * true.square().sum() - (logs * wanted).sum() / len(features)

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach() * unit, bias.detach()
