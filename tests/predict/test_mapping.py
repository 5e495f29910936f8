"""The map against a plain whole-scene float64 reference that shares no code with the stitcher."""

import copy
import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm.errors import GridError, SceneError
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory, map_to_file
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window
from geofm.tasks import NODATA
from geofm.tiles.windows import usual_overlap

SEEDS = st.integers(0, 2**16)


def reference_probabilities(model, dn, valid, overlap):
    """(K, H, W) float64: every window by itself, in Python loops, over the padded scene."""
    segmenter = copy.deepcopy(model.segmenter).double()
    size = segmenter.encoder.config.image_size
    step = size - overlap
    bands, height, width = dn.shape
    mean, std = np.array(model.contract.mean), np.array(model.contract.std)
    x = (dn * np.float64(1e-4) - mean[:, None, None]) / std[:, None, None]
    x = np.where(valid, x, 0.0)
    padded = np.zeros((bands, max(height, size), max(width, size)))
    padded[:, :height, :width] = x

    def begin(length):
        at, starts = 0, []
        while at + size < length:
            starts.append(at)
            at += step
        return [*starts, max(length - size, 0)]

    weight = np.ones(size)
    for i in range(size):
        near = min(i, size - 1 - i) + 0.5
        if near < overlap:
            weight[i] = np.sin(near / overlap * np.pi / 2) ** 2
    total = np.zeros((len(model.classes), *padded.shape[1:]))
    norm = np.zeros(padded.shape[1:])
    for row in begin(height):
        for col in begin(width):
            here = (..., slice(row, row + size), slice(col, col + size))
            with torch.no_grad():
                logits = segmenter(torch.from_numpy(padded[here])[None, None])[0].numpy()
            total[here] += logits * np.outer(weight, weight)
            norm[here] += np.outer(weight, weight)
    logits = (total / norm)[:, :height, :width]
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    overlap=st.sampled_from([0, 4, 8, 16]),
    classes=st.sampled_from([2, 3, 7]),
    seed=SEEDS,
)
def test_map_equals_the_float64_reference(
    tiny_model, write_raster, dn_of, height, width, overlap, classes, seed
):
    model = tiny_model(classes=classes)
    dn = dn_of(height, width, seed=seed)
    hole = np.random.default_rng(seed).random((height, width)) < 0.1
    dn[1, hole] = 0
    scene = open_scene(write_raster(dn, block=16))
    result = map_in_memory(model, scene, options=MapOptions(probabilities=True, overlap=overlap))
    expected = reference_probabilities(model, dn, ~hole, overlap)

    assert (result.classes[hole] == NODATA).all()
    assert (result.confidence[hole] == NODATA).all()
    assert (result.probabilities[:, hole] == NODATA).all()
    ordered = np.sort(expected, axis=0)
    clear = ~hole & (ordered[-1] - ordered[-2] > 1e-5)
    np.testing.assert_array_equal(result.classes[clear], expected.argmax(0)[clear])
    # Stored in steps of 0.004 and of 0.01: half a step, and the bound of 1e-5.
    difference = np.abs(result.probabilities * 0.004 - expected)[:, ~hole]
    assert (difference <= 0.002 + 1e-5).all()
    difference = np.abs(result.confidence * 0.01 - ordered[-1])[~hole]
    assert (difference <= 0.005 + 1e-5).all()


def test_probabilities_are_within_1e_5_of_the_reference(
    tiny_model, write_raster, dn_of, monkeypatch
):
    """The unrounded probabilities, caught where the stitcher makes them."""
    from geofm.predict import stitch

    caught = {}
    plain = stitch.seam_sums

    def catch(probabilities, valid, plan, area, owned):
        top, left = owned.row - area.row, owned.col - area.col
        caught[owned] = probabilities[:, top:, left:].numpy().copy()
        return plain(probabilities, valid, plan, area, owned)

    monkeypatch.setattr(stitch, "seam_sums", catch)
    model = tiny_model(classes=5)
    dn = dn_of(97, 131)
    map_in_memory(model, open_scene(write_raster(dn)), options=MapOptions(overlap=8))
    expected = reference_probabilities(model, dn, np.ones(dn.shape[1:], bool), 8)
    seen = np.full_like(expected, np.nan)
    for owned, probabilities in caught.items():
        seen[:, *owned.slices] = probabilities
    assert np.abs(seen - expected).max() <= 1e-5


def test_seam_score_is_the_ratio_of_differences(tiny_model, write_raster, dn_of):
    model = tiny_model()
    dn = dn_of(80, 75)
    scene = open_scene(write_raster(dn))
    result = map_in_memory(model, scene, options=MapOptions(overlap=8))
    p = reference_probabilities(model, dn, np.ones(dn.shape[1:], bool), 8)
    rows = {r for start in (0, 24, 48) for r in (start, start + 32)} & set(range(1, 80))
    cols = {c for start in (0, 24, 43) for c in (start, start + 32)} & set(range(1, 75))
    edge, other = [], []
    for r in range(1, 80):
        (edge if r in rows else other).extend(np.abs(p[:, r] - p[:, r - 1]).mean(0))
    for c in range(1, 75):
        (edge if c in cols else other).extend(np.abs(p[:, :, c] - p[:, :, c - 1]).mean(0))
    assert result.seam_score == pytest.approx(np.mean(edge) / np.mean(other), rel=1e-4)


def test_one_window_has_no_seam_score(tiny_model, write_raster, dn_of):
    scene = open_scene(write_raster(dn_of(20, 20)))
    assert map_in_memory(tiny_model(), scene).seam_score is None


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, filler=st.sampled_from([1, 7, 9_999, 65_535]))
def test_an_invalid_pixel_set_to_any_number_changes_nothing(
    tiny_model, write_raster, dn_of, seed, filler
):
    """One band tells that a pixel is invalid; what the other says there is nobody's business."""
    model = tiny_model()
    hole = np.random.default_rng(seed).random((50, 70)) < 0.3
    maps = []
    for value in (3_000, filler):
        dn = dn_of(50, 70, seed=seed)
        dn[0, hole], dn[1, hole] = 0, value
        maps.append(map_in_memory(model, open_scene(write_raster(dn))))
    np.testing.assert_array_equal(maps[0].classes, maps[1].classes)
    np.testing.assert_array_equal(maps[0].confidence, maps[1].confidence)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_is_no_data(tiny_model, write_raster, dn_of, bad):
    dn = dn_of(40, 50).astype(np.float32)
    dn[0, 5:9, 7:20] = bad
    result = map_in_memory(tiny_model(), open_scene(write_raster(dn, nodata=None)))
    expected = np.zeros((40, 50), bool)
    expected[5:9, 7:20] = True
    np.testing.assert_array_equal(result.classes == NODATA, expected)


def test_a_fill_that_nobody_declared_is_refused_and_not_mapped(tiny_model, write_raster, dn_of):
    fill = -3.4e38
    reflectance = (dn_of(40, 40) * 1e-4).astype(np.float32)
    reflectance[:, 3, 3] = fill
    scene = open_scene(write_raster(reflectance), scale=1)
    with pytest.raises(SceneError, match="likely a fill that nobody declared: give nodata="):
        map_in_memory(tiny_model(), scene)
    scene = open_scene(write_raster(reflectance, name="b.tif"), scale=1, nodata=fill)
    assert (map_in_memory(tiny_model(), scene).classes == NODATA).sum() == 1


def test_a_mask_in_the_file_is_no_data(tiny_model, write_raster, dn_of):
    path = write_raster(dn_of(40, 50), nodata=None)
    measured = np.full((40, 50), 255, np.uint8)
    measured[10:20, 30:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(measured)
    result = map_in_memory(tiny_model(), open_scene(path))
    np.testing.assert_array_equal(result.classes == NODATA, measured == 0)


GRIDS = {
    "one pixel": (1, 1, None, "EPSG:32633"),
    "one row": (1, 5000, None, "EPSG:32633"),
    "odd sides": (225, 449, None, "EPSG:32633"),
    "one more than a window": (33, 33, None, "EPSG:32633"),
    "rotated": (50, 60, Affine(8.66, 5, 4e5, 5, -8.66, 5.8e6), "EPSG:32633"),
    "south-up": (50, 60, Affine(10, 0, 4e5, 0, 10, 5.8e6), "EPSG:32633"),
    "across the antimeridian": (40, 90, Affine(9e-5, 0, 179.996, 0, -9e-5, -16.5), "EPSG:4326"),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_every_shape_maps_each_pixel_on_its_grid(tiny_model, write_raster, dn_of, tmp_path, grid):
    height, width, transform, crs = GRIDS[grid]
    dn = dn_of(height, width)
    path = write_raster(dn, transform=transform, crs=crs)
    report = map_to_file(tiny_model(), open_scene(path), tmp_path / "map.tif")
    with rasterio.open(path) as source, rasterio.open(report.path) as result:
        classes = result.read(1)
        assert result.crs == source.crs
        assert result.transform.almost_equals(source.transform, 1e-9)
        assert result.shape == source.shape
    assert classes.max() < 3
    overlap = usual_overlap(32, patch=8)
    expected = reference_probabilities(tiny_model(), dn, np.ones(dn.shape[1:], bool), overlap)
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    np.testing.assert_array_equal(classes[clear], expected.argmax(0)[clear])
    item = json.loads(report.files["item"].read_text())
    assert item["geometry"]["type"] == (
        "MultiPolygon" if grid == "across the antimeridian" else "Polygon"
    )


def test_a_scene_without_data_maps_to_no_data_without_a_forward_pass(
    tiny_model, write_raster, tmp_path
):
    model = tiny_model()

    def refuse(*_):
        raise AssertionError("no window has a pixel to map")

    model.segmenter.register_forward_pre_hook(refuse)
    path = write_raster(np.zeros((2, 70, 80), np.uint16))
    report = map_to_file(model, open_scene(path, scale=1e-4), tmp_path / "map.tif")
    with rasterio.open(report.path) as file:
        assert (file.read(1) == NODATA).all()
    assert report.seam_score is None


def test_dates_and_the_valid_dates_a_pixel_needs(tiny_model, write_raster, dn_of):
    dates = ("2020-05-01", "2020-06-01", "2020-07-01")
    dn = dn_of(40, 50, bands=6)
    dn[0, :10] = 0  # first date
    dn[2, :5] = 0  # second date
    dn[4, :2] = 0  # third date
    scene = open_scene(write_raster(dn, dates=dates))
    for needed, rows in ((1, 2), (2, 5), (3, 10)):
        model = tiny_model(dates=3, min_valid_dates=needed)
        classes = map_in_memory(model, scene).classes
        assert (classes[:rows] == NODATA).all()
        assert (classes[rows:] < 3).all()


def test_bands_in_another_order_give_the_same_map(tiny_model, write_raster, dn_of):
    dn = dn_of(40, 50)
    straight = map_in_memory(tiny_model(), open_scene(write_raster(dn)))
    turned = write_raster(dn[::-1].copy(), "turned.tif", bands=("nir08", "red"))
    np.testing.assert_array_equal(
        straight.classes, map_in_memory(tiny_model(), open_scene(turned)).classes
    )


def test_bf16_stays_within_its_bound(tiny_model, write_raster, dn_of):
    """Promise 4: probabilities within a bound; classes equal where the margin is twice that."""
    bound = 0.03
    scene = open_scene(write_raster(dn_of(70, 80)))
    exact, coarse = (
        map_in_memory(
            tiny_model(), scene, options=MapOptions(precision=precision, probabilities=True)
        )
        for precision in ("fp32", "bf16")
    )
    assert exact.recipe.digest != coarse.recipe.digest
    a, b = exact.probabilities * 0.004, coarse.probabilities * 0.004
    assert np.abs(a - b).max() <= bound
    ordered = np.sort(a, axis=0)
    clear = ordered[-1] - ordered[-2] > 2 * bound
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(exact.classes[clear], coarse.classes[clear])


def test_windows_are_clipped_by_the_grid():
    assert Window(-2, 3, 5, 9).clip(10, 10) == Window(0, 3, 3, 7)


@pytest.mark.parametrize(
    ("crs", "step"), [('LOCAL_CS["site",UNIT["metre",1]]', 10), ("EPSG:32633", 1e12)]
)
def test_a_grid_that_lies_nowhere_on_earth_is_refused(tiny_model, write_raster, dn_of, crs, step):
    path = write_raster(dn_of(20, 20), crs=crs, transform=Affine(step, 0, 0, 0, -step, 0))
    scene = open_scene(path)
    assert "20 rows" in repr(scene)
    with pytest.raises(GridError, match="lies nowhere on Earth"):
        map_in_memory(tiny_model(), scene)
