"""Scores: counts of the blocks alone, intervals only where blocks carry them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.assess.evaluate import score_map
from geofm.errors import LabelError
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, MASKED, NODATA, UNSURE
from geofm.tiles.splits import plan_blocks

SIZE, BLOCK = 60, 12
BLOCKS = plan_blocks(SIZE, SIZE, block=BLOCK)


def random_map(seed, *, classes=3):
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, (SIZE, SIZE)).astype(np.uint8)
    found = np.where(random.random((SIZE, SIZE)) < 0.3, random.integers(0, classes), target)
    target[random.random((SIZE, SIZE)) < 0.2] = IGNORE
    found = found.astype(np.uint8)
    for code in (UNSURE, MASKED, NODATA):
        found[random.random((SIZE, SIZE)) < 0.05] = code
    return found, target


@given(st.integers(0, 1000), st.sets(st.integers(0, 24), min_size=1))
def test_scores_are_those_of_the_pixels_in_the_blocks(seed, chosen):
    found, target = random_map(seed)
    blocks = [BLOCKS[i] for i in sorted(chosen)]
    score = score_map(found, target, blocks, count=3)
    confusion = np.zeros((3, 3), int)
    uncovered = 0
    for block in blocks:
        for f, t in zip(found[block.slices].flat, target[block.slices].flat, strict=True):
            if t == IGNORE:
                continue
            if f < 3:
                confusion[t, f] += 1
            else:
                uncovered += 1
    assert np.array_equal(score.confusion, confusion)
    assert score.uncovered == uncovered
    for k in range(3):
        union = confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]
        assert score.iou[k] == pytest.approx(confusion[k, k] / union)
    assert score.mean_iou == pytest.approx(np.mean(score.iou))


def test_an_interval_holds_the_score_and_narrows_with_blocks():
    found, target = random_map(1)
    few = score_map(found, target, BLOCKS[:10], count=3)
    all_of_them = score_map(found, target, BLOCKS, count=3)
    for score in (few, all_of_them):
        low, high = score.mean_interval
        assert low < score.mean_iou < high
        for value, (bottom, top) in zip(score.iou, score.iou_intervals, strict=True):
            assert bottom < value < top
    assert np.diff(all_of_them.mean_interval) < np.diff(few.mean_interval)
    assert all_of_them.note == "95 % intervals by drawing 25 blocks anew"


def test_too_few_blocks_have_no_interval_and_say_so():
    found, target = random_map(2)
    target[:, BLOCK * 3 :] = IGNORE
    blocks = [w for w in BLOCKS if w.row < BLOCK * 3]
    score = score_map(found, target, blocks, count=3)
    assert score.blocks == 9 < len(blocks)
    assert score.mean_interval is None
    assert score.iou_intervals == (None, None, None)
    assert score.note.startswith("no interval: 9 blocks have labels")


def test_a_class_that_never_occurs_has_neither_score_nor_interval():
    found, target = random_map(3)
    score = score_map(found, target, BLOCKS, count=4)
    assert np.isnan(score.iou[3])
    assert score.iou_intervals[3] is None
    assert score.mean_iou == pytest.approx(np.mean(score.iou[:3]))


@given(st.integers(0, 255))
def test_what_lies_outside_the_blocks_or_unlabelled_does_not_count(number):
    found, target = random_map(4)
    blocks = BLOCKS[3:15]
    before = score_map(found, target, blocks, count=3)
    scored = np.zeros((SIZE, SIZE), bool)
    for block in blocks:
        scored[block.slices] = True
    found[~scored | (target == IGNORE)] = number
    target[~scored] = number
    after = score_map(found, target, blocks, count=3)
    assert np.array_equal(before.confusion, after.confusion)
    assert before.iou_intervals == after.iou_intervals
    assert before.uncovered == after.uncovered


def test_what_cannot_be_scored_is_said():
    found, target = random_map(5)
    with pytest.raises(LabelError, match="needed labels on the map's grid"):
        score_map(found, target[:10], BLOCKS, count=3)
    with pytest.raises(LabelError, match="no pixel of the 1 blocks has both"):
        score_map(found, np.full_like(target, IGNORE), [Window(0, 0, 9, 9)], count=3)
    with pytest.raises(LabelError, match="no pixel of the 0 blocks"):
        score_map(found, target, [], count=3)
