"""Splits: every pixel at most one role, roles a gap apart, the same seed the same split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.errors import SplitError
from geofm.scenes.window import Window
from geofm.tiles.splits import check_apart, distance, keep_apart, plan_blocks, split_by_area

windows = st.builds(
    Window, st.integers(0, 40), st.integers(0, 40), st.integers(1, 12), st.integers(1, 12)
)


def pixels(window):
    return {
        (row, col)
        for row in range(window.row, window.stop_row)
        for col in range(window.col, window.stop_col)
    }


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 25))
def test_blocks_tile_the_grid(height, width, block):
    seen = np.zeros((height, width), int)
    for window in plan_blocks(height, width, block=block):
        seen[window.slices] += 1
    assert (seen == 1).all()


@given(windows, windows)
def test_distance_counts_the_pixels_between(a, b):
    nearest = min(
        np.hypot(max(abs(r - s) - 1, 0), max(abs(c - d) - 1, 0))
        for r, c in pixels(a)
        for s, d in pixels(b)
    )
    assert distance(a, b) == (-1 if pixels(a) & pixels(b) else pytest.approx(nearest))
    assert distance(a, b) == distance(b, a)


@given(
    st.integers(20, 90),
    st.integers(20, 90),
    st.integers(6, 20),
    st.integers(0, 8),
    st.sampled_from([0.1, 0.25, 0.5]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 5),
)
def test_roles_lie_a_gap_apart_inside_the_grid(height, width, block, gap, test, val, seed):
    try:
        split = split_by_area(height, width, block=block, gap=gap, test=test, val=val, seed=seed)
    except SplitError as error:
        assert "blocks" in str(error)
        return
    whole = Window(0, 0, height, width)
    roles = (split.train, split.val, split.test)
    for role in roles:
        for window in role:
            assert pixels(window)
            assert window.clip(height, width) == window
            assert pixels(window) <= pixels(whole)
    for i, one in enumerate(roles):
        for other in roles[i + 1 :]:
            if one and other:
                assert check_apart(one, other, gap=gap) >= gap
    for role in roles:
        assert sum(len(pixels(w)) for w in role) == len(set().union(*map(pixels, role)))


def test_same_seed_same_split_and_another_seed_another():
    def split(seed):
        return split_by_area(768, 1536, block=128, gap=32, test=0.25, seed=seed)

    assert split(3) == split(3)
    assert len({split(seed).test for seed in range(5)}) == 5


def test_test_blocks_stay_whole_and_are_the_share_asked_for():
    split = split_by_area(768, 1536, block=128, gap=32, test=0.25)
    assert len(split.test) == 18
    assert set(split.test) <= set(plan_blocks(768, 1536, block=128))


@given(st.integers(0, 20))
def test_content_is_spread_over_the_roles(seed):
    # Eight of sixty-four blocks hold all the water: a quarter for test takes two.
    content = np.zeros(64)
    content[np.random.default_rng(seed).choice(64, 8, replace=False)] = 1
    blocks = plan_blocks(80, 80, block=10)
    split = split_by_area(80, 80, block=10, gap=0, test=0.25, seed=seed, content=content)
    assert sum(content[blocks.index(w)] for w in split.test) == 2


def test_trimming_keeps_the_larger_part():
    assert keep_apart([Window(0, 0, 10, 10)], [Window(0, 10, 10, 10)], gap=3) == [
        Window(0, 0, 10, 7)
    ]
    assert keep_apart([Window(0, 0, 10, 2)], [Window(0, 2, 10, 10)], gap=3) == []


def test_a_leak_is_refused_with_the_distance_found():
    a, near, over = Window(0, 0, 10, 10), Window(0, 14, 10, 10), Window(5, 5, 10, 10)
    assert check_apart([a], [near], gap=4) == 4
    with pytest.raises(SplitError, match=r"lie 4 px apart; needed 5 px"):
        check_apart([a], [near], gap=5)
    with pytest.raises(SplitError, match="overlap"):
        check_apart([a], [over], gap=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"test": 1.0}, "leave something to train on"),
        ({"gap": -1}, "a gap of 0 or more"),
        ({"gap": 500}, "nothing of 36 blocks .* to train on; choose a smaller gap"),
        ({"test": 0.001}, "leave none for test"),
        ({"content": [1, 2]}, "2 contents for 36 blocks"),
    ],
)
def test_what_cannot_be_split_is_said(options, text):
    settings = {"block": 10, "gap": 2, "test": 0.25, "seed": 1} | options
    with pytest.raises(SplitError, match=text):
        split_by_area(60, 60, **settings)
