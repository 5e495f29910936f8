"""Optimizer groups hold every weight once; the learning rate rises, then falls."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geofm.errors import ConfigError
from geofm.train.config import EncoderShape, FinetuneConfig, PretrainConfig
from geofm.train.optim import parameter_groups, warmup_cosine


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)


def test_matrices_decay_and_vectors_do_not():
    one, two = Part(), Part()
    two.linear.requires_grad_(False)
    groups = parameter_groups([(one.parameters(), 0.1), (two.parameters(), 0.2)], weight_decay=0.5)
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    assert sum(len(group["params"]) for group in groups) == len(found)
    expected = {
        id(p): (rate, 0.5 if p is part.linear.weight else 0.0)
        for part, rate in ((one, 0.1), (two, 0.2))
        for p in part.parameters()
        if p.requires_grad
    }
    assert found == expected


@given(st.integers(1, 300), st.floats(0, 1))
def test_the_rate_rises_to_one_and_falls_to_zero(steps, share):
    warmup = round(steps * share)
    rates = [warmup_cosine(step, steps=steps, warmup=warmup) for step in range(steps + 1)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[0] > 0
    if warmup < steps:
        assert rates[warmup] == 1
        assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: PretrainConfig(steps=0), "steps is 0; needed 1 or more"),
        (lambda: PretrainConfig(mask_ratio=1), "mask_ratio is 1; needed 0.01 to 0.99"),
        (
            lambda: PretrainConfig(learning_rate=float("nan")),
            "learning_rate is nan; needed 1e-09 to",
        ),
        (lambda: FinetuneConfig(learning_rate=0), "learning_rate is 0; needed 1e-09 to 1"),
        (lambda: PretrainConfig(clip=float("inf")), "clip is inf"),
        (lambda: FinetuneConfig(warmup=1.5), "warmup is 1.5"),
        (lambda: FinetuneConfig(head="deeplab"), "head is 'deeplab'; needed fcn, linear, unet or"),
        (lambda: FinetuneConfig(encoder_rate=-1), "encoder_rate is -1"),
        (lambda: FinetuneConfig(depths=(0, -2)), "depths is -2"),
        (lambda: EncoderShape(depth=0), "depth is 0"),
    ],
)
def test_settings_out_of_range_are_refused(build, text):
    with pytest.raises(ConfigError, match=text):
        build()


def test_settings_load_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, geofm.train.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
