"""Tokens at single pixels are those of the interpolated map."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from geofm.model.at_pixels import tokens_at

SIDES = st.integers(1, 40)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 9))
def test_they_are_those_of_the_whole_map(tokens, pixels, count) -> None:
    maps = torch.randn(3, *tokens, generator=torch.Generator().manual_seed(count))
    row = torch.arange(count) * 7 % pixels[0]
    col = torch.arange(count) * 5 % pixels[1]
    whole = F.interpolate(maps[None], pixels, mode="bilinear")[0]
    found = tokens_at(maps, row, col, shape=pixels)
    torch.testing.assert_close(found, whole[:, row, col].T, rtol=1e-4, atol=1e-4)
