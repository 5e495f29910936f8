"""Intervals and p-values claim what they keep: simulations with pixels that err by blocks."""

from dataclasses import replace

import numpy as np
import pytest

from geofm.assess import compare as comparing
from geofm.assess.compare import paired_test
from geofm.assess.evaluate import evaluate_model
from geofm.errors import LabelError, ModelError
from geofm.model.folder import load_model_folder
from geofm.model.metrics import interval_of, iou, mean_iou, resampled
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels
from geofm.tasks import MapClass


def blocks_of(count, random, *, skill=0.0):
    """(blocks, 2, 2): each block has its own size, share of water and rates of error."""
    size = random.integers(500, 1500, count)
    water = random.binomial(size, random.beta(1, 4, count))
    missed = random.binomial(water, np.clip(random.beta(2, 8, count) - skill, 0, 1))
    false = random.binomial(size - water, random.beta(1, 19, count))
    rows = [[size - water - false, false], [missed, water - missed]]
    return np.moveaxis(np.array(rows), -1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 20, 60])
@pytest.mark.parametrize("score", [mean_iou, lambda counts: iou(counts)[..., 1]])
def test_intervals_hold_the_truth_as_often_as_they_claim(count, score):
    random = np.random.default_rng(0)
    truth = score(blocks_of(200_000, random).sum(axis=0))
    held = 0
    for seed in range(300):
        drawn = resampled(blocks_of(count, random), rounds=500, seed=seed)
        low, high = interval_of(np.concatenate([score(sums) for sums in drawn]), blocks=count)
        held += low <= truth <= high
    assert 0.9 <= held / 300 <= 0.99


@pytest.mark.slow
def test_models_that_do_not_differ_are_rarely_told_apart(monkeypatch):
    monkeypatch.setattr(comparing, "ROUNDS", 200)
    random = np.random.default_rng(1)
    p = []
    for seed in range(200):
        ground = random.beta(1, 4, 20)
        both = []
        for _ in range(2):
            water = random.binomial(1000, ground)
            missed = random.binomial(water, random.beta(2, 8, 20))
            false = random.binomial(1000 - water, random.beta(1, 19, 20))
            rows = [[1000 - water - false, false], [missed, water - missed]]
            both.append(np.moveaxis(np.array(rows), -1, 0))
        p.append(comparing._swap_test(np.stack(both, axis=1), seed=seed))
    assert np.mean(np.array(p) < 0.05) <= 0.1
    assert 0.35 < np.mean(p) < 0.65


@pytest.fixture
def evaluated(flood_folder, make_scene, tmp_path):
    """Two evaluations on the same chips, by weights that differ a little."""
    model = load_model_folder(flood_folder)
    pairs = []
    for seed in range(12):
        path = make_scene(f"{seed}.tif", height=32, width=32, seed=seed, crs=None)
        scene = open_scene(path)
        labels = make_labels(tmp_path / f"{seed}_labels.tif", path, seed=seed)
        pairs.append(Pair(scene, open_labels(labels, scene.geobox), str(seed)))
    return model, pairs, evaluate_model(model, pairs)


def with_counts(evaluation, counts, name):
    tally = replace(
        evaluation.tally, counts=counts, withheld=np.zeros_like(evaluation.tally.withheld)
    )
    return replace(evaluation, tally=tally, model=name)


def test_a_model_against_itself_shows_no_difference(evaluated):
    _, _, found = evaluated
    same = paired_test(found, found)
    assert (same.difference.value, same.difference.interval, same.p) == (0.0, (0.0, 0.0), 1.0)


def test_a_better_model_is_seen_and_signed(evaluated):
    _, _, found = evaluated
    random = np.random.default_rng(0)
    poor = blocks_of(12, random)
    good = poor.copy()
    good[:, 1, 1] += poor[:, 1, 0] // 2
    good[:, 1, 0] -= poor[:, 1, 0] // 2
    first, second = with_counts(found, poor, "poor"), with_counts(found, good, "good")
    better = paired_test(first, second)
    assert better.difference.value == pytest.approx(
        float(mean_iou(good.sum(axis=0)) - mean_iou(poor.sum(axis=0)))
    )
    assert better.difference.interval[0] > 0
    assert better.p < 0.01
    worse = paired_test(second, first)
    assert worse.difference.value == -better.difference.value
    assert worse.p == better.p
    assert "good" in comparing_text(better)


def comparing_text(comparison):
    from geofm.assess.table import comparison_text

    return comparison_text(comparison)


def test_unsure_pixels_count_by_what_they_hold_back(evaluated):
    _, _, found = evaluated
    silent = replace(
        found,
        model="silent",
        tally=replace(
            found.tally,
            counts=np.zeros_like(found.tally.counts),
            withheld=found.tally.counts + found.tally.withheld,
        ),
    )
    assert paired_test(found, silent).difference.value == 0.0


def test_what_cannot_be_compared_is_said(evaluated):
    model, pairs, found = evaluated
    with pytest.raises(LabelError, match="different scenes or windows"):
        paired_test(found, evaluate_model(model, pairs[:11]))
    other = replace(found, classes=(MapClass("a", "#000000"), MapClass("b", "#000001")))
    with pytest.raises(ModelError, match="needed the same classes"):
        paired_test(found, other)
