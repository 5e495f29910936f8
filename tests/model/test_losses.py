import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.model.losses import cross_entropy
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
