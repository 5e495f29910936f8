"""A temperature makes confidence hold and moves no class; unsure is what was asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.assess.calibrate import (
    RANGE,
    _Kept,
    _ranks,
    calibrate_model,
    confidence_bound,
    fit_temperature,
)
from geofm.assess.evaluate import evaluate_model
from geofm.assess.leakage import validation_windows
from geofm.errors import ConfigError, LabelError, ModelError, SplitError
from geofm.model.calibration import Calibration
from geofm.model.folder import load_model_folder, save_model
from geofm.predict import engine
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory
from geofm.predict.plan import Layout
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels
from geofm.scenes.window import Window
from geofm.tasks import UNSURE
from geofm.tiles.area import Area, footprint


@pytest.fixture(scope="module")
def model(flood_folder):
    return load_model_folder(flood_folder)


@pytest.fixture
def pair(make_scene, tmp_path):
    path = make_scene(height=90, width=75)
    scene = open_scene(path)
    labels = make_labels(tmp_path / "labels.tif", path)
    return Pair(scene, open_labels(labels, scene.geobox), "lakes")


def drawn(classes, pixels, seed):
    """Logits, and labels drawn from their softmax."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (classes, pixels))
    chances = np.exp(logits - logits.max(0))
    chances /= chances.sum(0)
    labels = (chances.cumsum(0) > random.random(pixels)).argmax(0)
    return logits.astype(np.float32), labels.astype(np.uint8)


@given(st.integers(2, 13), st.floats(0.2, 8), st.integers(0, 99))
def test_a_known_temperature_is_found(classes, temperature, seed):
    logits, labels = drawn(classes, 6000, seed)
    found = fit_temperature(logits * np.float32(temperature), labels)
    assert found == pytest.approx(temperature, rel=0.12)


@given(st.integers(0, 99))
def test_no_other_temperature_has_a_smaller_loss(seed):
    logits, labels = drawn(4, 300, seed)

    def loss(temperature):
        scaled = logits.astype(float) / temperature
        total = np.log(np.exp(scaled).sum(0))
        return (total - scaled[labels, np.arange(len(labels))]).mean()

    found = fit_temperature(logits, labels)
    for other in (found * 0.98, found * 1.02):
        assert loss(found) <= loss(other)


def test_pixels_that_are_all_right_or_all_wrong_end_at_the_range():
    logits, _ = drawn(3, 200, 0)
    assert fit_temperature(logits, logits.argmax(0).astype(np.uint8)) == pytest.approx(
        RANGE[0], rel=1e-3
    )
    assert fit_temperature(logits, logits.argmin(0).astype(np.uint8)) == pytest.approx(
        RANGE[1], rel=1e-3
    )


@pytest.mark.parametrize("temperature", [0.05, 0.9, 3.7, 20.0])
def test_a_temperature_moves_no_class(model, pair, temperature):
    part = [[Window(0, 0, 64, 64)]]
    plain = evaluate_model(model, [pair], windows=part)
    warm = replace(model, calibration=Calibration(temperature))
    assert np.array_equal(evaluate_model(warm, [pair], windows=part).confusion, plain.confusion)


@pytest.mark.parametrize("calibration", [Calibration(2.3), Calibration(0.4, 0.6)])
def test_one_recipe_one_result_with_a_calibration(model, pair, monkeypatch, calibration):
    model = replace(model, calibration=calibration)
    whole = map_in_memory(model, pair.scene, options=MapOptions(probabilities=True))
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: Layout(17, 1))
    parts = map_in_memory(model, pair.scene, options=MapOptions(probabilities=True))
    for name in ("classes", "confidence", "probabilities"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    other = map_in_memory(replace(model, calibration=None), pair.scene)
    assert other.recipe.digest != whole.recipe.digest
    named = whole.classes < UNSURE
    np.testing.assert_array_equal(other.classes[named], whole.classes[named])
    assert (whole.classes == UNSURE).any() == (calibration.unsure_below is not None)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
def test_the_share_that_keeps_its_class_is_as_asked(model, pair, coverage):
    calibrated = calibrate_model(model, [pair], coverage=coverage)
    found = evaluate_model(calibrated, [pair])
    kept = found.scores.pixels / (found.scores.pixels + found.unsure)
    assert coverage <= kept < coverage + 0.02
    assert found.reliability.nll <= evaluate_model(model, [pair]).reliability.nll
    assert any("flatters" in note for note in found.notes)


def test_the_fit_does_not_depend_on_the_order_of_work(model, pair, monkeypatch):
    monkeypatch.setattr("geofm.assess.calibrate._MOST_PIXELS", 500)
    before = calibrate_model(model, [pair]).calibration
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: Layout(23, 1))
    assert calibrate_model(model, [pair]).calibration == before


@given(st.integers(1, 400), st.lists(st.integers(0, 90), max_size=8), st.integers(0, 3))
def test_a_sample_is_the_lowest_ranks_in_whatever_parts(most, sizes, number):
    kept, everything = _Kept.empty(2), []
    for row, size in enumerate(sizes):
        rank = _ranks(number, np.full(size, row), np.arange(size))
        everything.append(rank)
        target = (rank % np.uint64(2)).astype(np.uint8)
        kept.add(np.stack([target, 1 - target]).astype(np.float32), target, rank, most=most)
    ranks = np.sort(np.concatenate([np.empty(0, np.uint64), *everything]))
    assert kept.pixels == len(ranks)
    assert len(np.unique(ranks)) == len(ranks)
    np.testing.assert_array_equal(np.sort(kept.rank), ranks[:most])
    np.testing.assert_array_equal(kept.logits[0], kept.target)
    np.testing.assert_array_equal(kept.target, kept.rank % np.uint64(2))


@given(st.floats(0.01, 1), st.integers(1, 300), st.integers(0, 50))
def test_the_bound_keeps_at_least_its_share(coverage, pixels, seed):
    logits, _ = drawn(3, pixels, seed)
    bound = confidence_bound(logits, 1.3, coverage=coverage)
    scaled = logits.astype(float) / 1.3
    best = 1 / np.exp(scaled - scaled.max(0)).sum(0)
    assert (best >= bound - 1e-6).mean() >= coverage - 1e-9


def test_a_calibration_lives_in_the_folder_and_others_open_without(model, tmp_path):
    assert model.calibration is None
    chosen = replace(model, calibration=Calibration(1.7, 0.61))
    save_model(chosen, tmp_path / "m.geofm")
    assert load_model_folder(tmp_path / "m.geofm").calibration == Calibration(1.7, 0.61)
    text = (tmp_path / "m.geofm" / "model.json").read_text()
    (tmp_path / "m.geofm" / "model.json").write_text(text.replace("1.7", "-1.7"))
    with pytest.raises(ModelError, match=r"calibration\.temperature"):
        load_model_folder(tmp_path / "m.geofm")


@pytest.mark.parametrize(
    "wrong", [(0.0, None), (float("nan"), None), (float("inf"), None), (1.0, 1.5)]
)
def test_a_calibration_that_is_none_is_refused(wrong):
    with pytest.raises(ModelError, match="calibrate the model again"):
        Calibration(*wrong)


def test_what_cannot_be_calibrated_on_is_said(model, pair):
    with pytest.raises(ConfigError, match="a coverage of 0"):
        calibrate_model(model, [pair], coverage=0)
    with pytest.raises(LabelError, match="no scene with labels"):
        calibrate_model(model, [])
    with pytest.raises(LabelError, match="30 pixels have a label and a class"):
        calibrate_model(model, [pair], windows=[[Window(0, 0, 5, 6)]])
    trained = replace(
        model,
        provenance={"training_footprint": footprint([Area(pair.scene, (Window(0, 0, 90, 75),))])},
    )
    with pytest.raises(SplitError, match="trained on 100%"):
        calibrate_model(trained, [pair])
    chosen = replace(
        model, provenance={"validation_footprint": trained.provenance["training_footprint"]}
    )
    assert calibrate_model(chosen, [pair], coverage=None).calibration.unsure_below is None


def test_what_was_set_apart_in_training_is_found_again(make_scene, tmp_path, pair):
    whole, west = Window(0, 0, 90, 75), Window(0, 0, 90, 32)
    provenance = {
        "training_footprint": footprint([Area(pair.scene, (Window(0, 48, 90, 27),))]),
        "validation_footprint": footprint([Area(pair.scene, (west,))]),
        "sources": ["known"],
    }
    bare = [open_scene(make_scene(f"{name}.tif", crs=None)) for name in ("known", "new")]
    pairs = [pair, *(replace(pair, scene=scene, name=scene.id) for scene in bare)]
    some, windows = validation_windows(provenance, pairs)
    assert [each.name for each in some] == ["lakes", "new"]
    covered = np.zeros((whole.height, whole.width), int)
    for window in windows[0]:
        covered[window.slices] += 1
    assert (covered[:, :32] == 1).all()
    assert not covered[:, 32:].any()
    assert windows[1] == (Window(0, 0, 61, 83),)
    assert validation_windows({}, pairs) == ([], [])
