"""A model's score is that of the map it would write, and of nothing it was trained on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from geofm.assess import evaluate as evaluating
from geofm.assess.evaluate import evaluate_model
from geofm.assess.parts import plan_parts
from geofm.errors import LabelError, SplitError, TilingError
from geofm.model.calibration import Calibration
from geofm.model.folder import load_model_folder, save_model
from geofm.predict import engine
from geofm.predict.mapping import map_to_file
from geofm.predict.plan import Layout
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, UNSURE, MapClass
from geofm.tiles.area import Area, footprint


@pytest.fixture(scope="module")
def model(flood_folder):
    """Random weights, as sure of some pixels as of few others, trained elsewhere."""
    return load_model_folder(flood_folder)


@pytest.fixture
def make_pair(make_scene, tmp_path):
    def make(name="a", *, codes=None, facts=None, group="", **options):
        path = make_scene(f"{name}.tif", **options)
        seed = options.get("seed", 0)
        labels = make_labels(tmp_path / f"{name}_labels.tif", path, seed=seed)
        if codes is not None:
            with rasterio.open(labels, "r+") as file:
                file.write(np.broadcast_to(codes, file.shape).astype(np.uint8), 1)
        scene = open_scene(path)
        return Pair(scene, open_labels(labels, scene.geobox), name, group, "", facts or {})

    return make


def confusion_of(classes, target, windows, count=2):
    found = np.zeros((count, count), int)
    for window in windows:
        for t, c in zip(target[window.slices].flat, classes[window.slices].flat, strict=True):
            if t < count and c < count:
                found[t, c] += 1
    return found


@pytest.mark.parametrize("calibration", [None, Calibration(0.7, 0.52)])
@pytest.mark.parametrize("layout", [None, Layout(strip_width=33, block_rows=1)])
def test_the_score_is_that_of_the_written_map(
    model, make_pair, tmp_path, monkeypatch, calibration, layout
):
    model = replace(model, calibration=calibration)
    pair = make_pair(height=75, width=90)
    map_to_file(model, pair.scene, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        classes = file.read(1)
    if layout:
        monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: layout)
    windows = [Window(3, 5, 40, 31), Window(50, 40, 25, 50)]
    found = evaluate_model(model, [pair], windows=[windows])
    target = pair.labels.read()
    assert np.array_equal(found.confusion, confusion_of(classes, target, windows))
    scored = np.zeros(classes.shape, bool)
    for window in windows:
        scored[window.slices] = True
    scored &= target != IGNORE
    assert found.unsure == int((classes[scored] == UNSURE).sum())
    assert (found.unsure > 0) == (calibration is not None)
    assert int(found.tally.bins.sum()) == found.scores.pixels + found.unsure
    assert found.tally.confidence.sum() > 0.5 * found.tally.bins.sum()


def test_layout_blocks_without_labels_are_not_computed(model, make_pair, monkeypatch):
    pair = make_pair(height=200, width=60, nodata=None)
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: Layout(60, 1))
    looked_at = []
    infer = engine._infer
    monkeypatch.setattr(
        engine, "_infer", lambda windows, *rest: looked_at.extend(windows) or infer(windows, *rest)
    )
    evaluate_model(model, [pair], windows=[[Window(100, 0, 10, 60)]])
    assert looked_at
    assert all(w.stop_row > 40 and w.row < 160 for w in looked_at)


def test_chips_without_a_crs_are_scored_and_grouped(model, make_pair):
    pairs = [
        make_pair(f"chip{i}", height=40, width=40, crs=None, seed=i, facts={"region": "ab"[i % 2]})
        for i in range(12)
    ]
    found = evaluate_model(model, pairs)
    assert found.unit == "chip"
    assert found.scores.mean_iou.interval is not None
    assert {s.value for s in found.slices if s.fact == "region"} == {"a", "b"}
    values = [s.mean_iou.value for s in found.slices]
    assert values == sorted(values), "worst first"
    total = sum(s.pixels for s in found.slices if s.fact == "region")
    assert total == found.scores.pixels
    # What is no worse than the whole is not called worst.
    whole = found.scores.mean_iou.value
    for each in found.slices:
        named = f"{each.fact}: {each.value}" in str(found)
        assert named == (each.mean_iou.value is not None and each.mean_iou.value < whole)


def test_given_groups_are_drawn_whole_where_they_are_enough(make_pair):
    pairs = [make_pair(f"c{i}", crs=None, seed=i, group=f"g{i % 10}") for i in range(14)]
    plan = plan_parts(pairs, None)
    assert (plan.unit, plan.units) == ("group", 10)
    few = plan_parts(pairs[:9], None)
    assert few.unit == "block"
    assert all(
        few.parts[i].windows[0].stop_row <= 61 and few.parts[i].unit == i
        for i in range(len(few.parts))
    )
    covered = np.zeros((61, 83), int)
    for part in few.parts:
        if part.pair == 0:
            covered[part.windows[0].slices] += 1
    assert (covered == 1).all()


def test_what_was_trained_on_is_refused_with_its_share(model, make_pair):
    pair = make_pair(height=64, width=64)
    west = footprint([Area(pair.scene, (Window(0, 0, 64, 30),))])
    trained = replace(model, provenance={"training_footprint": west, "sources": ["x"]})
    with pytest.raises(SplitError, match=r"trained on 47% of these pixels \(0 m apart\)"):
        evaluate_model(trained, [pair])
    east = [[Window(0, 34, 64, 30)]]
    assert evaluate_model(trained, [pair], windows=east).exposure.distance == pytest.approx(40, 0.1)
    touching = evaluate_model(trained, [pair], windows=[[Window(0, 30, 64, 34)]])
    assert (touching.exposure.overlap, touching.exposure.distance) == (False, 0.0)
    allowed = evaluate_model(trained, [pair], allow_leakage=True)
    assert allowed.exposure.trained == pytest.approx(30 / 64, abs=0.01)
    assert "no test" in " ".join(allowed.notes)
    chooser = replace(model, provenance={"validation_footprint": west})
    with pytest.raises(SplitError, match="0 m apart"):
        evaluate_model(chooser, [pair])


def test_what_has_no_place_on_earth_is_known_by_name(model, make_pair):
    pair = make_pair("chip_7", crs=None)
    trained = replace(model, provenance={"sources": [pair.scene.id]})
    with pytest.raises(SplitError, match="was trained on chip_7 .told by name"):
        evaluate_model(trained, [pair])
    assert evaluate_model(trained, [pair], allow_leakage=True).exposure.trained == 1.0


def test_the_share_seen_in_pretraining_is_told(model, make_pair):
    pair = make_pair(height=64, width=64)
    half = footprint([Area(pair.scene, (Window(0, 0, 64, 32),))])
    pretrained = replace(model, provenance={"encoder": {"training_footprint": half}})
    found = evaluate_model(pretrained, [pair])
    assert found.exposure.pretrained == pytest.approx(0.5, abs=0.01)
    assert "50% seen in pretraining" in found.exposure.sentence


@pytest.mark.parametrize("record", [{}, {"sources": []}, {"sources": ["ibm/prithvi.pt"]}])
def test_where_nobody_knows_what_pretraining_saw_it_is_not_called_unseen(model, make_pair, record):
    """A published encoder says where its weights lie, not which ground it was shown."""
    found = evaluate_model(replace(model, provenance={"encoder": record}), [make_pair()])
    assert found.exposure.pretrained is None
    assert "not recorded whether seen in pretraining" in found.exposure.sentence


def test_an_absent_class_has_no_score_and_the_mean_is_a_number(make_pair, flood_folder):
    model = load_model_folder(flood_folder)
    pair = make_pair(codes=0)
    found = evaluate_model(model, [pair])
    dry, water = found.class_scores
    assert dry.recall.value is not None
    assert water.recall.value is None, "never labelled"
    assert water.iou.value in (0.0, None)
    assert found.scores.mean_iou.value is not None
    assert any("alone is labelled" in note for note in found.notes)
    json.dumps(found.plain(), allow_nan=False)


def test_classes_neither_labelled_nor_mapped_are_named():
    counts = np.zeros((12, 3, 3), np.int64)
    counts[:, 0, 0], counts[:, 0, 1], counts[:, 1, 1] = 80, 10, 10
    kinds = [MapClass(name, "#000000") for name in ("a", "b", "c")]
    scores = evaluating.score_counts(counts, kinds)
    assert scores.classes[2].iou.value is None
    assert scores.classes[2].iou.interval is None
    assert scores.mean_iou.value == pytest.approx((0.8 / 0.9 + 0.5) / 2)


def test_scores_live_in_the_model_folder_and_come_back(model, make_pair, tmp_path):
    found = evaluate_model(model, [make_pair(facts={"region": "Havel"})])
    provenance = {**model.provenance, "scores": found.plain()}
    save_model(replace(model, provenance=provenance), tmp_path / "m.geofm")
    assert load_model_folder(tmp_path / "m.geofm").provenance["scores"] == found.plain()
    card = (tmp_path / "m.geofm" / "README.md").read_text()
    assert f"{found.mean_iou.value:.3f}" in card, "the card tells it, in whatever words"
    assert "mean IoU" in str(found)


def test_what_cannot_be_scored_is_said(model, make_pair):
    with pytest.raises(LabelError, match="no scene with labels"):
        evaluate_model(model, [])
    with pytest.raises(LabelError, match=r"labels of odd hold the code 7; the model has the cl"):
        evaluate_model(model, [make_pair("odd", codes=7)])
    with pytest.raises(LabelError, match="no pixel of the 1 scenes has both a label and a class"):
        evaluate_model(model, [make_pair("bare", codes=IGNORE)])
    pair = make_pair("c")
    with pytest.raises(TilingError, match="reaches outside its 61 x 83 px"):
        evaluate_model(model, [pair], windows=[[Window(50, 0, 20, 20)]])
    with pytest.raises(TilingError, match="2 lists of windows for 1 pairs"):
        evaluate_model(model, [pair], windows=[[], []])
    with pytest.raises(LabelError, match="no pixel of the 1 scenes"):
        evaluate_model(model, [pair], windows=[[]])


def test_too_few_blocks_have_no_interval_and_say_so(model, make_pair):
    found = evaluate_model(model, [make_pair(height=40, width=40)])
    assert found.scores.mean_iou.interval is None
    assert found.notes[0].startswith("no interval: 3 blocks of 32 px have labels")
    assert found.reliability.ece_debiased is None
