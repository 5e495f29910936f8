"""Statistics: those of all valid pixels at once, however they are cut, and of nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.errors import BandError, SceneError, TilingError
from geofm.scenes.window import Window
from geofm.tiles.area import Area, areas_of, cells, footprint
from geofm.tiles.splits import plan_blocks
from geofm.tiles.statistics import measure_statistics, moments


def random_scene(array_scene, seed, *, height=37, width=53, dates=2):
    random = np.random.default_rng(seed)
    dn = random.integers(1, 12000, (dates, 2, height, width)).astype(np.uint16)
    valid = random.random((dates, height, width)) > 0.3
    return array_scene(dn, valid, offset=-0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 60))
def test_any_cut_gives_the_statistics_of_all_pixels(array_scene, seed, block):
    scene = random_scene(array_scene, seed)
    pixels = scene.read()
    plain = [pixels.values[:, c][pixels.valid].astype(np.float64) for c in range(2)]
    found = measure_statistics([Area(scene, tuple(plan_blocks(37, 53, block=block)))])
    np.testing.assert_allclose(found.mean, [p.mean() for p in plain], rtol=1e-12)
    np.testing.assert_allclose(found.std, [p.std() for p in plain], rtol=1e-12)
    assert sum(map(sum, found.valid[0])) == pixels.valid.sum()


def test_scenes_count_by_their_pixels(array_scene):
    scenes = [random_scene(array_scene, 1), random_scene(array_scene, 2, height=11, dates=1)]
    both = [scene.read() for scene in scenes]
    plain = [
        np.concatenate([p.values[:, c][p.valid] for p in both]).astype(np.float64) for c in range(2)
    ]
    found = measure_statistics(areas_of(scenes, None))
    np.testing.assert_allclose(found.mean, [p.mean() for p in plain], rtol=1e-12)
    np.testing.assert_allclose(found.std, [p.std() for p in plain], rtol=1e-12)


def test_a_small_spread_on_a_large_mean_survives():
    values = np.float32(1000) + np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    parts = sum(
        (moments(values[..., i : i + 1, :], np.ones((1, 1, 64), bool)) for i in range(1, 64)),
        start=moments(values[..., :1, :], np.ones((1, 1, 64), bool)),
    )
    std = np.sqrt(parts.squares / parts.count)
    np.testing.assert_allclose(std, values.astype(np.float64).std(), rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0, 1, 65535]))
def test_invalid_pixels_change_nothing(array_scene, seed, number):
    scene = random_scene(array_scene, seed)
    before = measure_statistics(areas_of([scene], None))
    dn = np.where(scene.source.valid[:, None], scene.source.dn, np.uint16(number))
    after = measure_statistics(areas_of([array_scene(dn, scene.source.valid, offset=-0.1)], None))
    assert before == after


def test_nothing_outside_the_windows_is_read(array_scene):
    scene = random_scene(array_scene, 0)
    windows = (Window(3, 5, 10, 12), Window(20, 30, 17, 23))
    measure_statistics([Area(scene, windows)])
    allowed = np.zeros((37, 53), bool)
    for window in windows:
        allowed[window.slices] = True
    assert np.array_equal(scene.source.seen, allowed)


@given(
    st.builds(
        Window, st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 40)
    ),
    st.integers(1, 20),
)
def test_cells_cut_a_window_exactly(window, size):
    seen = np.zeros((80, 80), int)
    for cell in cells(window, size=size):
        seen[cell.slices] += 1
        assert cell.row // size == (cell.stop_row - 1) // size
        assert cell.col // size == (cell.stop_col - 1) // size
    assert (seen[window.slices] == 1).all()
    assert seen.sum() == window.height * window.width


def test_what_has_no_statistics_is_said(array_scene):
    nothing = array_scene(np.ones((1, 2, 4, 4), np.uint16), np.zeros((1, 4, 4), bool))
    with pytest.raises(SceneError, match="no valid pixel in the training area"):
        measure_statistics(areas_of([nothing], None))
    constant = array_scene(np.full((1, 2, 9, 9), 1234, np.uint16))
    with pytest.raises(SceneError, match="band green is 0.1234 at every valid pixel"):
        measure_statistics(areas_of([constant], None))
    scenes = [random_scene(array_scene, 0), random_scene(array_scene, 0).select(bands=["nir"])]
    with pytest.raises(BandError, match="memory has nir; needed green, nir"):
        measure_statistics(areas_of(scenes, None))


def test_areas_are_checked(array_scene):
    scene = random_scene(array_scene, 0)
    with pytest.raises(TilingError, match="reaches outside its 37 x 53 px"):
        Area(scene, (Window(30, 0, 8, 8),))
    with pytest.raises(TilingError, match="no window may be read"):
        Area(scene, ())
    with pytest.raises(TilingError, match="2 lists of windows for 1 scenes"):
        areas_of([scene], [[], []])


def test_the_footprint_covers_what_was_read_and_no_more(array_scene):
    import shapely

    scene = random_scene(array_scene, 0)
    one = Area(scene, (Window(0, 0, 10, 53), Window(10, 0, 27, 53)))
    whole = shapely.from_geojson(__import__("json").dumps(footprint([one])))
    assert whole.geom_type == "Polygon"
    assert whole.symmetric_difference(scene.footprint).area < 1e-3 * scene.footprint.area
    assert footprint([Area(array_scene(np.ones((1, 2, 4, 4))), (Window(0, 0, 4, 4),))]) is not None
    lost = array_scene(np.ones((1, 2, 4, 4)), crs=None)
    assert footprint(areas_of([lost], None)) is None
