"""The reader of features: the best of its kind, whatever units features come in."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.model import logistic
from geofm.model.logistic import STRENGTHS, fit_logistic


def sample(count=400, width=5, classes=3, seed=0, noise=1.0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=draw) @ torch.randn(width, width, generator=draw)
    truth = torch.randn(width, classes, generator=draw)
    target = (x @ truth + noise * torch.randn(count, classes, generator=draw)).argmax(dim=1)
    return x, target, torch.arange(count) % 2 == 0


def slope(x, target, linear, *, strength, classes):
    """Of the penalised loss in standardised features, as it is written in books."""
    mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
    weight = (linear.weight * deviation[:, None]).double().requires_grad_()
    bias = (linear.bias + mean @ linear.weight).double().requires_grad_()
    z = ((x - mean) / deviation).double()
    loss = F.cross_entropy(z @ weight + bias, target) + strength / 2 * weight.square().sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, [weight, bias])]), loss


@given(st.integers(0, 999), st.integers(2, 4), st.floats(0.3, 3))
@settings(max_examples=15)
def test_the_fit_is_where_the_loss_is_flat(seed: int, classes: int, noise: float) -> None:
    x, target, halves = sample(classes=classes, seed=seed, noise=noise)
    linear, strength = fit_logistic(x, target, halves, classes=classes)
    assert strength in STRENGTHS
    gradient, _ = slope(x, target, linear, strength=strength, classes=classes)
    assert gradient.abs().max() < 3e-3


def test_units_do_not_matter() -> None:
    x, target, halves = sample()
    units = torch.tensor([1e-3, 1.0, 50.0, 7.0, 0.2])
    shift = torch.tensor([3.0, -2.0, 100.0, 0.0, 1.0])
    first, strength = fit_logistic(x, target, halves, classes=3)
    second, again = fit_logistic(x * units + shift, target, halves, classes=3)
    assert strength == again
    torch.testing.assert_close(first(x), second(x * units + shift), atol=0.02, rtol=0.02)


def test_noise_calls_for_a_strong_hand() -> None:
    """Forty features that say nothing: the weaker the penalty, the more is made of them."""
    draw = torch.Generator().manual_seed(0)
    x, target = torch.randn(120, 40, generator=draw), torch.arange(120) % 2
    _, strength = fit_logistic(x, target, torch.arange(120) < 60, classes=2)
    assert strength == STRENGTHS[0]
    x[:, 0] = target + 0.01 * x[:, 0]
    _, strength = fit_logistic(x, target, torch.arange(120) < 60, classes=2)
    assert strength < STRENGTHS[0]


def test_trust_is_chosen_by_what_reads_the_other_half(monkeypatch) -> None:
    draw = torch.Generator().manual_seed(0)
    true, noise = torch.randn(200, 1, generator=draw), torch.randn(200, 60, generator=draw)
    target = (true[:, 0] + 0.3 * torch.randn(200, generator=draw) > 0).long()
    x, halves = torch.cat([noise, true], dim=1), torch.arange(200) < 100
    even, few = torch.ones(61), torch.tensor([0.01] * 60 + [1.0])
    linear, _ = fit_logistic(x, target, halves, classes=2, trusts=[even, few])
    fresh = torch.randn(500, 61, generator=draw)
    right = (linear(fresh).argmax(dim=1) == (fresh[:, -1] > 0)).float().mean()
    assert right > 0.95
    alone, _ = fit_logistic(x, target, halves, classes=2)
    assert right > (alone(fresh).argmax(dim=1) == (fresh[:, -1] > 0)).float().mean()


def test_a_half_of_one_class_takes_the_middle() -> None:
    x, _, _ = sample()
    target = (torch.arange(400) >= 200).long()
    linear, strength = fit_logistic(x, target, torch.arange(400) < 200, classes=2)
    assert strength == STRENGTHS[len(STRENGTHS) // 2]
    assert linear.weight.isfinite().all()


def test_a_class_or_a_feature_that_never_shows() -> None:
    x, target, halves = sample(classes=2)
    x = torch.cat([x, torch.full((400, 1), 5.0)], dim=1)
    linear, _ = fit_logistic(x, target, halves, classes=4)
    assert not linear.weight[-1].any()
    assert set(linear(x).argmax(dim=1).tolist()) <= {0, 1}


def test_few_rounds_are_enough(monkeypatch) -> None:
    """The axes in which features vary together make the climb short, however skewed they are."""
    x, target, halves = sample(count=2000, width=30, classes=2)
    x = x + 30 * x[:, :1]
    calls = 0
    right = torch.nn.functional.log_softmax

    def counting(*args, **options):
        nonlocal calls
        calls += 1
        return right(*args, **options)

    monkeypatch.setattr(logistic.F, "log_softmax", counting)
    fit_logistic(x, target, halves, classes=2)
    assert calls < 25 * 3 * len(STRENGTHS)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_same_input_gives_the_same_fit(classes) -> None:
    x, target, halves = sample(classes=classes)
    first = fit_logistic(x, target, halves, classes=classes)[0]
    second = fit_logistic(x, target, halves, classes=classes)[0]
    assert torch.equal(first.weight, second.weight)
