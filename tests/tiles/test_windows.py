from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.errors import TilingError
from geofm.tiles.windows import axis_starts, plan_windows

SIDES = st.integers(1, 400)
SIZES = st.integers(1, 64)


@given(length=SIDES, size=SIZES, data=st.data())
def test_windows_cover_every_pixel_and_stay_inside(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    starts = axis_starts(length, size=size, overlap=overlap)
    covered = {pixel for start in starts for pixel in range(start, start + size)}
    assert set(range(length)) <= covered
    assert starts == sorted(set(starts))
    if length >= size:
        assert max(covered) == length - 1
    else:
        assert starts == [0]


@given(length=SIDES, size=SIZES, data=st.data())
def test_neighbours_share_at_least_the_overlap_and_only_the_last_shares_more(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    starts = axis_starts(length, size=size, overlap=overlap)
    steps = [b - a for a, b in pairwise(starts)]
    assert all(step == size - overlap for step in steps[:-1])
    assert all(0 < step <= size - overlap for step in steps)


@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 20))
def test_plan_is_the_product_of_its_sides_row_by_row(height, width, size):
    windows = plan_windows(height, width, size=size)
    assert [(w.row, w.col) for w in windows] == sorted((w.row, w.col) for w in windows)
    assert {w.row for w in windows} == set(axis_starts(height, size=size))
    assert {(w.height, w.width) for w in windows} == {(size, size)}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 8, "overlap": 8}, "leave no step"),
        ({"size": 0}, "leave no step"),
        ({"size": 8, "overlap": -1}, "leave no step"),
    ],
)
def test_windows_without_a_step_are_refused(options, text):
    with pytest.raises(TilingError, match=text):
        plan_windows(10, 10, **options)


def test_an_empty_grid_is_refused():
    with pytest.raises(TilingError, match="0 px long; it needs 1 or more"):
        plan_windows(0, 10, size=4)
