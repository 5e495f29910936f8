"""Convolving maps of several sizes gives what resizing them first gives."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.model.resized import conv_resized

SIDES = st.integers(1, 17)


@settings(deadline=None)
@given(
    st.tuples(SIDES, SIDES),
    st.lists(st.tuples(st.integers(1, 4), SIDES, SIDES), max_size=3),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_it_is_the_convolution_of_resized_maps(size, others, outputs, seed) -> None:
    random = torch.Generator().manual_seed(seed)
    shapes = [(3, *size), *others]
    maps = [torch.randn(2, *s, generator=random, dtype=torch.float32) for s in shapes]
    weight = torch.randn(outputs, sum(c for c, *_ in shapes), 3, 3, generator=random)
    resized = [F.interpolate(m, size, mode="bilinear", align_corners=True) for m in maps[1:]]
    wanted = F.conv2d(torch.cat([maps[0], *resized], dim=1).double(), weight.double(), padding=1)
    found = conv_resized(maps, weight)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_it_learns_as_they_do() -> None:
    maps = [torch.randn(1, 2, side, side, requires_grad=True) for side in (8, 4)]
    weight = torch.randn(3, 4, 3, 3, requires_grad=True)
    conv_resized(maps, weight).square().sum().backward()
    found = [each.grad.clone() for each in (*maps, weight)]
    for each in (*maps, weight):
        each.grad = None
    resized = F.interpolate(maps[1], (8, 8), mode="bilinear", align_corners=True)
    F.conv2d(torch.cat([maps[0], resized], dim=1), weight, padding=1).square().sum().backward()
    for one, each in zip(found, (*maps, weight), strict=True):
        torch.testing.assert_close(one, each.grad, rtol=1e-4, atol=1e-3)


def test_bfloat16_keeps_its_resizing_exact() -> None:
    maps = [torch.randn(1, 8, 12, 12), torch.randn(1, 8, 5, 5)]
    weight = torch.randn(4, 16, 3, 3) / 12
    with torch.autocast("cpu", torch.bfloat16):
        rough = conv_resized(maps, weight)
    exact = conv_resized(maps, weight)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
