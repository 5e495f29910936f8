import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.model.losses import balanced_weights, counts, cross_entropy, loss_terms, mean_loss
from geofm.tasks import IGNORE


@given(seed=st.integers(0, 999), weighted=st.booleans(), ignored=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_against_a_loop_over_pixels(seed: int, weighted: bool, ignored: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=draw)
    target = torch.randint(0, 3, (2, 4, 5), generator=draw).to(torch.uint8)
    target[torch.rand(2, 4, 5, generator=draw) < ignored] = IGNORE
    valid = torch.rand(2, 4, 5, generator=draw) > 0.2
    weight = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    total = mass = 0.0
    for b in range(2):
        for row in range(4):
            for col in range(5):
                label = int(target[b, row, col])
                if label == IGNORE or not valid[b, row, col]:
                    continue
                values = logits[b, :, row, col].tolist()
                share = math.exp(values[label]) / sum(map(math.exp, values))
                own = float(weight[label]) if weight is not None else 1.0
                total, mass = total - own * math.log(share), mass + own
    found = cross_entropy(logits, target, valid=valid, weight=weight)
    assert found.item() == pytest.approx(total / mass if mass else 0.0, rel=1e-4)


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0])])
def test_nothing_labelled_is_zero_with_a_gradient(weight: torch.Tensor | None) -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 3, 3), IGNORE), weight=weight)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ignored_logits_move_nothing_and_half_precision_is_summed_in_float() -> None:
    logits = torch.randn(1, 2, 3, 3)
    target = torch.tensor([[[0, 1, 0], [IGNORE] * 3, [1, 1, 0]]])
    other = logits.clone()
    other[:, :, 1] = 1e4
    assert torch.equal(cross_entropy(logits, target), cross_entropy(other, target))
    assert cross_entropy(logits.bfloat16(), target).dtype == torch.float32


KINDS = ("ce", "focal", "dice", "ce+dice")


def batch(seed: int, *, size: int = 6, ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, 3, 4, 5, generator=draw)
    target = torch.randint(0, 3, (size, 4, 5), generator=draw).to(torch.uint8)
    target[torch.rand(size, 4, 5, generator=draw) < ignored] = IGNORE
    target[0] = IGNORE  # a sample without a label
    return logits, target


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_parts_of_a_batch_add_up_to_its_loss(kind, weights, seed) -> None:
    terms = loss_terms(kind, weights=weights)
    logits, target = batch(seed)
    logits.requires_grad_()
    whole = mean_loss(terms, logits, target, counts(terms, target))
    (expected,) = torch.autograd.grad(whole, logits)
    cuts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    counted = torch.stack([counts(terms, target[cut]) for cut in cuts]).sum(dim=0)
    assert counted.dtype == torch.float64
    parts = [mean_loss(terms, logits[cut], target[cut], counted) for cut in cuts]
    (found,) = torch.autograd.grad(sum(parts), logits)
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("seed", range(4))
def test_dice_against_a_loop_over_samples_and_classes(seed, weights) -> None:
    logits, target = batch(seed)
    shares = logits.softmax(dim=1)
    lost = []
    for share, codes in zip(shares, target, strict=True):
        seen = codes != IGNORE
        held = [k for k in range(3) if (codes == k).any()]
        if not held:
            continue
        own = {k: 1.0 if weights is None else weights[k] for k in held}
        loss = 0.0
        for k in held:
            mine = codes[seen] == k
            p = share[k][seen]
            loss += own[k] * (1 - 2 * p[mine].sum() / (p.sum() + mine.sum())).item()
        lost.append(loss / sum(own.values()))
    terms = loss_terms("dice", weights=weights)
    found = mean_loss(terms, logits, target, counts(terms, target))
    assert counts(terms, target) == len(lost)
    assert found.item() == pytest.approx(sum(lost) / len(lost), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_focal_loss_against_its_formula(seed) -> None:
    logits, target = batch(seed)
    seen = target != IGNORE
    p = logits.softmax(dim=1).movedim(1, -1)[seen].gather(1, target[seen].long()[:, None])
    expected = ((1 - p) ** 2 * -p.log()).mean()
    terms = loss_terms("focal")
    found = mean_loss(terms, logits, target, counts(terms, target))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    plain = loss_terms("focal", gamma=0.0)
    assert mean_loss(plain, logits, target, counts(plain, target)) == cross_entropy(logits, target)


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_move_no_loss_and_sure_logits_stay_numbers(kind) -> None:
    terms = loss_terms(kind)
    logits, target = batch(1)
    other = torch.where((target == IGNORE)[:, None], torch.tensor(1e4), logits)
    counted = counts(terms, target)
    assert mean_loss(terms, logits, target, counted) == mean_loss(terms, other, target, counted)
    for scale in (0.0, 1e3):
        sure = (scale * logits).requires_grad_()
        loss = mean_loss(terms, sure, target, counted)
        loss.backward()
        assert loss.isfinite()
        assert sure.grad is not None
        assert sure.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_falls_to_nothing_on_the_truth_and_is_none_without_labels(kind) -> None:
    terms = loss_terms(kind)
    _, target = batch(2)
    truth = 50 * torch.nn.functional.one_hot(target.long().clamp(max=2), 3).movedim(-1, 1).float()
    right = mean_loss(terms, truth, target, counts(terms, target))
    assert right == pytest.approx(0, abs=1e-5)
    empty = torch.full_like(target, IGNORE)
    free = truth.requires_grad_()
    nothing = mean_loss(terms, free, empty, counts(terms, empty))
    nothing.backward()
    assert nothing == 0
    assert free.grad is not None
    assert not free.grad.any()


@given(st.lists(st.integers(0, 10**7), min_size=2, max_size=20).filter(any))
def test_balanced_weights_average_one_and_favour_the_rare(pixels: list[int]) -> None:
    weights = balanced_weights(pixels)
    mean = sum(n * w for n, w in zip(pixels, weights, strict=True)) / sum(pixels)
    assert mean == pytest.approx(1)
    order = sorted(range(len(pixels)), key=pixels.__getitem__)
    assert [weights[k] for k in order] == sorted(weights, reverse=True)
