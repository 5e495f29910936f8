"""Flips and turns: eight different ones, each undone by another, pixels never mixed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm.tiles.transforms import TURNS, turn


def test_eight_different_ones_and_the_first_changes_nothing():
    image = torch.arange(9).reshape(3, 3)
    seen = {tuple(turn(image, code).flatten().tolist()) for code in range(TURNS)}
    assert len(seen) == 8
    assert turn(image, 0).equal(image)


@pytest.mark.parametrize("code", range(TURNS))
def test_each_is_undone_by_another(code):
    image = torch.rand(2, 5, 5)
    assert sum(turn(turn(image, code), back).equal(image) for back in range(TURNS)) == 1


@given(st.integers(0, 7), st.integers(1, 6))
def test_layers_turn_together(code, size):
    image = torch.rand(3, 2, size, size)
    turned = turn(image, code)
    for date in range(3):
        for band in range(2):
            assert turned[date, band].equal(turn(image[date, band], code))
