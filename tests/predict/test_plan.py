from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.errors import ConfigError
from geofm.predict.plan import GIB, Layout, WindowPlan, choose_batch, pieces, plan_layout
from geofm.scenes.window import Window

PLANS = st.builds(
    WindowPlan,
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    size=st.just(32),
    overlap=st.integers(0, 16),
)


@given(plan=PLANS, strip=st.integers(1, 160), rows=st.integers(1, 5))
def test_blocks_cover_every_pixel_once_in_order(plan, strip, rows):
    count = np.zeros((plan.height, plan.width), int)
    blocks = [block for strip_ in Layout(strip, rows).strips(plan) for block in strip_]
    for block in blocks:
        count[block.area.slices] += 1
    assert (count == 1).all()
    assert [block.index for block in blocks] == list(range(len(blocks)))


@given(plan=PLANS, strip=st.integers(1, 160), rows=st.integers(1, 5))
def test_a_block_is_finished_by_its_window_rows_and_those_above(plan, strip, rows):
    for blocks in Layout(strip, rows).strips(plan):
        for block in blocks:
            seen = plan.rows_over(block.area.row, block.area.stop_row)
            assert seen.stop <= block.window_rows[1]


@given(plan=PLANS, start=st.integers(0, 149), length=st.integers(1, 50))
def test_rows_over_names_the_windows_that_see_the_pixels(plan, start, length):
    start = min(start, plan.height - 1)
    stop = min(start + length, plan.height)
    expected = [i for i, row in enumerate(plan.rows) if row < stop and row + plan.size > start]
    assert list(plan.rows_over(start, stop)) == expected


@given(plan=PLANS)
def test_weights_are_positive_and_their_sum_is_what_the_windows_add(plan):
    assert (plan.weight > 0).all()
    assert (plan.weight <= 1).all()
    total = np.zeros(plan.width + plan.size)
    for col in plan.cols:
        total[col : col + plan.size] += plan.weight
    np.testing.assert_allclose(plan.col_norm, total[: plan.width], rtol=1e-6)


@given(height=st.integers(1, 300), width=st.integers(1, 3000), classes=st.integers(2, 253))
def test_pieces_cover_a_block_once(height, width, classes):
    area = Window(5, 7, height, width)
    parts = list(pieces(area, classes))
    assert parts[0].col == area.col
    assert parts[-1].stop_col == area.stop_col
    assert all(a.stop_col == b.col for a, b in pairwise(parts))


@given(
    width=st.integers(1, 200_000),
    classes=st.integers(2, 253),
    pixel=st.integers(3, 400),
    gib=st.floats(1.5, 16),
)
def test_the_layout_keeps_its_buffers_below_the_ceiling(width, classes, pixel, gib):
    plan = WindowPlan(50_000, width, size=224, overlap=56)
    memory = int(gib * GIB)
    layout = plan_layout(
        plan, classes=classes, input_bytes=pixel, source_rows=512, batch=8, memory=memory
    )
    high = plan.size + (layout.block_rows - 1) * (plan.size - plan.overlap)
    used = (4 * classes * high + pixel * (2 * high + 3 * 512)) * (layout.strip_width + 448)
    assert used <= memory
    assert 1 <= layout.strip_width <= width


def test_a_ceiling_below_one_window_is_refused_with_what_is_needed():
    plan = WindowPlan(50_000, 50_000, size=224, overlap=56)
    with pytest.raises(ConfigError, match=r"too small for windows of 224 px.*--memory \d+\.\dGiB"):
        plan_layout(plan, classes=200, input_bytes=60, source_rows=512, batch=8, memory=400 * 2**20)


@given(plan=PLANS, most=st.integers(1, 40))
def test_a_batch_leaves_no_more_padding_than_the_largest_one(plan, most):
    """Counted by laying out every block, as the engine does."""
    batch = choose_batch(plan, most)
    windows = len(plan.rows) * len(plan.cols)
    most = max(min(most, windows), 2)
    assert max(most // 2, 2) <= batch <= most
    assert computed(plan, batch) <= computed(plan, most)


def computed(plan, batch):
    layout = plan_layout(
        plan, classes=2, input_bytes=15, source_rows=32, batch=batch, memory=2 * GIB
    )
    (blocks,) = layout.strips(plan)
    sizes = [(stop - first) * len(plan.cols) for first, stop in (b.window_rows for b in blocks)]
    assert sum(sizes) == len(plan.rows) * len(plan.cols)
    return sum(-(-size // batch) * batch for size in sizes)


def test_a_tile_of_ten_by_ten_windows_has_no_padding():
    assert choose_batch(WindowPlan(2048, 2048, size=224, overlap=16), 16) == 10
