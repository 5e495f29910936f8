import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geofm.model.metrics import bootstrap_interval, confusion_matrix, f1, iou, mean_iou
from geofm.tasks import IGNORE, MASKED, UNSURE

codes = hnp.arrays(np.uint8, 40, elements=st.sampled_from([0, 1, 2, UNSURE, MASKED, IGNORE]))


@given(predicted=codes, target=codes)
def test_counts_and_scores_against_sets_of_pixels(
    predicted: NDArray[np.uint8], target: NDArray[np.uint8]
) -> None:
    counts = confusion_matrix(predicted, target, classes=3)
    assert counts.dtype == np.int64
    pairs = [(t, p) for t, p in zip(target, predicted, strict=True) if t < 3 and p < 3]
    for t in range(3):
        for p in range(3):
            assert counts[t, p] == pairs.count((t, p))
    ious, f1s = [], []
    for k in range(3):
        labelled = {i for i, (t, _) in enumerate(pairs) if t == k}
        mapped = {i for i, (_, p) in enumerate(pairs) if p == k}
        if labelled | mapped:
            ious.append(len(labelled & mapped) / len(labelled | mapped))
            f1s.append(2 * len(labelled & mapped) / (len(labelled) + len(mapped)))
            assert iou(counts)[k] == ious[-1]
            assert f1(counts)[k] == f1s[-1]
        else:
            assert np.isnan(iou(counts)[k])
            assert np.isnan(f1(counts)[k])
    assert mean_iou(counts) == pytest.approx(np.mean(ious) if ious else np.nan, nan_ok=True)


def test_many_classes() -> None:
    every = np.arange(253, dtype=np.uint8)
    counts = confusion_matrix(every, every[::-1], classes=253)
    assert counts.sum() == 253
    assert counts[0, 252] == 1


def test_interval_holds_the_score_and_narrows_with_blocks() -> None:
    draw = np.random.default_rng(1)

    def blocks(count: int) -> NDArray[np.int64]:
        right = draw.integers(60, 95, size=count)
        return np.array([[[r, 100 - r], [100 - r, r]] for r in right])

    widths = []
    for count in (12, 400):
        some = blocks(count)
        interval = bootstrap_interval(some)
        assert interval is not None
        low, high = interval
        assert low < mean_iou(some.sum(axis=0)) < high
        assert interval == bootstrap_interval(some), "the same seed, the same interval"
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_interval_of_one_class() -> None:
    blocks = np.tile(np.array([[90, 10], [5, 95]]), (20, 1, 1))
    interval = bootstrap_interval(blocks, lambda counts: iou(counts)[..., 1])
    assert interval == pytest.approx((95 / 110, 95 / 110))


def test_too_few_blocks_give_no_interval() -> None:
    blocks = np.tile(np.eye(2, dtype=np.int64), (9, 1, 1))
    assert bootstrap_interval(blocks) is None
    empty = np.zeros((50, 2, 2), dtype=np.int64)
    assert bootstrap_interval(np.concatenate([blocks, empty])) is None, "empty blocks are none"
