"""The finishing steps against the plain functions that they outrun."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm.predict.stitch import _first_at, _into_probabilities, probabilities_of


@given(
    classes=st.integers(2, 253),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    ties=st.booleans(),
)
def test_the_class_is_argmax_and_its_probability_the_largest(classes, height, width, seed, ties):
    generator = torch.Generator().manual_seed(seed)
    logits = 20 * torch.randn((classes, height, width), generator=generator)
    if ties:
        logits = (logits / 8).round()
    highest = logits.amax(0)
    assert torch.equal(_first_at(logits, highest), logits.argmax(0).to(torch.uint8))
    probabilities = logits.clone()
    best = _into_probabilities(probabilities, highest)
    assert torch.equal(best, probabilities.amax(0))
    torch.testing.assert_close(probabilities, logits.softmax(0), rtol=1e-5, atol=1e-7)
    assert torch.equal(probabilities_of(logits), probabilities)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_pixel_that_is_not_a_number_stays_one(bad):
    logits = torch.zeros((3, 1, 2))
    logits[1, 0, 0] = bad
    best = _into_probabilities(logits, logits.amax(0))
    assert best.isnan().tolist() == [[True, False]]


@given(width=st.integers(1, 60), start=st.integers(0, 59), seed=st.integers(0, 99))
def test_a_pixel_has_the_same_bytes_in_any_cut(width, start, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn((7, 5, 120), generator=generator)
    whole = probabilities_of(logits)
    part = slice(start, start + width)
    assert torch.equal(probabilities_of(logits[:, 1:4, part]), whole[:, 1:4, part])
