"""Samples: functions of (seed, index), inside their areas, turned together with their labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.errors import LabelError, TilingError
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.area import Area, areas_of, cells
from geofm.tiles.cache import CellCache
from geofm.tiles.dataset import Spot, TileDataset, label_spots, valid_spots
from geofm.tiles.statistics import BLOCK
from geofm.tiles.transforms import turn

HEIGHT, WIDTH = 300, 530


@pytest.fixture
def numbered(array_scene, array_labels):
    """A scene whose first band numbers its pixels, with labels that follow from the number."""
    number = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    dn = np.stack([number, -number])[None]
    valid = (number % 7 > 0)[None]
    codes = np.where(number % 5 == 0, IGNORE, number % 3).astype(np.uint8)
    return array_scene(dn, valid), array_labels(codes)


def dataset_of(scene, labels, windows, *, size=32, length=40, seed=0, **options):
    areas = [Area(scene, tuple(windows), labels)]
    counts = [[cell.height * cell.width for cell in cells(w, size=BLOCK)] for w in windows]
    spots = valid_spots(areas, [counts])
    return TileDataset(areas, spots, size=size, length=length, seed=seed, **options)


PLACES = (Window(10, 20, 100, 90), Window(120, 240, 170, 280), Window(2, 400, 20, 40))


def test_a_sample_is_what_its_draw_says(numbered):
    scene, labels = numbered
    dataset = dataset_of(scene, labels, PLACES)
    padded = 0
    for index in range(len(dataset)):
        sample, draw = dataset[index], dataset.draw(index)
        rows, cols = draw.window.slices
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[: draw.window.height, : draw.window.width] = True
        dn = torch.zeros(1, 2, 32, 32)
        dn[..., : draw.window.height, : draw.window.width] = torch.from_numpy(
            scene.source.dn[:, :, rows, cols]
        )
        target = torch.full((32, 32), IGNORE, dtype=torch.uint8)
        target[inside] = torch.from_numpy(labels.codes[rows, cols].copy()).flatten()
        assert sample.dn.equal(turn(dn, draw.turn))
        assert sample.target.equal(turn(target, draw.turn))
        assert not (sample.valid & ~turn(inside, draw.turn)).any()
        assert sample.number == index
        padded += not inside.all()
    assert 0 < padded < len(dataset)


def test_samples_follow_from_seed_and_index_alone(numbered):
    scene, labels = numbered
    one = dataset_of(scene, labels, PLACES, seed=5, cache_bytes=1)
    two = dataset_of(scene, labels, PLACES, seed=5, length=400)
    for index in (7, 3, 39, 0, 3):
        for a, b in zip(one[index], two[index], strict=True):
            assert torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    other = dataset_of(scene, labels, PLACES, seed=6)
    assert any(one.draw(i) != other.draw(i) for i in range(5))


def test_nothing_outside_the_places_is_read(numbered):
    scene, labels = numbered
    dataset = dataset_of(scene, labels, PLACES, length=300)
    for index in range(len(dataset)):
        dataset[index]
    allowed = np.zeros((HEIGHT, WIDTH), bool)
    for window in PLACES:
        allowed[window.slices] = True
    assert not (scene.source.seen & ~allowed).any()
    assert (scene.source.seen & allowed).any()


def test_all_places_and_all_turns_occur_by_weight(numbered):
    dataset = dataset_of(*numbered, PLACES, length=4000)
    draws = [dataset.draw(i) for i in range(4000)]
    weights = np.array([w.height * w.width for w in PLACES])
    found = np.array([sum(d.place == w for d in draws) for w in PLACES])
    np.testing.assert_allclose(found / 4000, weights / weights.sum(), atol=0.03)
    assert min(np.bincount([d.turn for d in draws], minlength=8)) > 400
    # The edges of a place are reached, and never passed.
    rows = [d.window.row for d in draws if d.place == PLACES[0]]
    assert (min(rows), max(rows)) == (10, 10 + 100 - 32)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_cache_changes_nothing(array_scene, array_labels, data):
    height, width = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600))
    number = np.arange(height * width, dtype=np.int32).reshape(1, 1, height, width)
    scene = array_scene(number, bands=("green",))
    codes = (number[0, 0] % 251).astype(np.uint8)

    def inside(outer):
        row = data.draw(st.integers(outer.row, outer.stop_row - 1))
        col = data.draw(st.integers(outer.col, outer.stop_col - 1))
        rows = data.draw(st.integers(1, outer.stop_row - row))
        return Window(row, col, rows, data.draw(st.integers(1, outer.stop_col - col)))

    place = inside(Window(0, 0, height, width))
    limit = data.draw(st.sampled_from([0, 300_000, 10**9]))
    cache = CellCache([Area(scene, (place,), array_labels(codes))], limit=limit)
    for _ in range(3):
        window = inside(place)
        size = (window.height, window.width)
        dn, valid = np.empty((1, 1, *size), np.int32), np.zeros((1, *size), bool)
        target = np.empty(size, np.uint8)
        cache.read(0, place, window, dates=[0], dn=dn, valid=valid, target=target)
        assert np.array_equal(dn[0, 0], number[0, 0][window.slices])
        assert np.array_equal(target, codes[window.slices])
        assert valid.all()


def test_the_cache_keeps_to_its_limit_and_decodes_once_within(numbered):
    scene, labels = numbered
    roomy = dataset_of(scene, labels, PLACES, length=200)
    for index in range(200):
        roomy[index]
    assert len(scene.source.windows) == len(set(scene.source.windows))
    limit = 400_000
    tight = dataset_of(scene, labels, PLACES, length=200, cache_bytes=limit)
    for index in range(200):
        tight[index]
        held = [cell.nbytes for cell in tight._cache._cells.values()]
        assert sum(held) == tight._cache._held
        assert sum(held) <= max(limit, *held)


@given(st.integers(0, 500), st.integers(1, 60))
def test_a_spot_lies_in_its_sample_as_far_as_its_place_allows(array_scene, index, size):
    scene = array_scene(np.ones((1, 2, 100, 120), np.uint16))
    place, spot = Window(10, 20, 60, 50), Window(15, 60, 4, 10)
    dataset = TileDataset(
        [Area(scene, (place,))], [Spot(0, place, spot, 1.0)], size=size, length=501
    )
    window = dataset.draw(index).window
    assert (window.height, window.width) == (min(size, 60), min(size, 50))
    assert place.row <= window.row <= window.stop_row <= place.stop_row
    assert place.col <= window.col <= window.stop_col <= place.stop_col
    assert any(
        window.row <= row < window.stop_row and window.col <= col < window.stop_col
        for row in range(spot.row, spot.stop_row)
        for col in range(spot.col, spot.stop_col)
    )


def test_light_scales_reflectance_and_nothing_else(numbered):
    plain, lit = dataset_of(*numbered, PLACES), dataset_of(*numbered, PLACES, light=0.5)
    gains = []
    for index in range(40):
        a, b = plain[index], lit[index]
        assert a.dn.equal(b.dn)
        assert a.target.equal(b.target)
        gain = (b.scale / a.scale).unique()
        assert len(gain) == 1
        gains.append(float(gain.log()))
    assert min(gains) >= -0.5
    assert max(gains) <= 0.5
    assert max(gains) - min(gains) > 0.6


def test_tint_scales_each_band_alike_on_all_dates(numbered):
    plain, lit = dataset_of(*numbered, PLACES), dataset_of(*numbered, PLACES, light=0.5)
    tinted = dataset_of(*numbered, PLACES, light=0.5, tint=0.3)
    for index in range(40):
        a, b, c = plain[index], lit[index], tinted[index]
        assert a.dn.equal(c.dn)
        gain = (c.scale / b.scale).log()
        assert gain.abs().max() <= 0.3 + 1e-6
        assert (gain == gain[:1]).all()
        assert len(gain[0].unique()) == gain.shape[1], "each band has its own"


def test_a_class_weighs_the_root_of_its_pixels(array_scene, array_labels):
    codes = np.full((20, 40), IGNORE, np.uint8)
    codes[:, :10], codes[:2, 12:14] = 0, 1  # two hundred pixels of one class, four of the other
    scene = array_scene(np.ones((1, 2, 20, 40), np.uint16))
    windows = (Window(0, 0, 20, 5), Window(0, 5, 20, 15), Window(0, 20, 20, 20))
    spots = label_spots([Area(scene, windows, array_labels(codes))], classes=2, size=20)
    assert [spot.window for spot in spots] == list(windows)
    half = 100 / np.sqrt(200)
    np.testing.assert_allclose([spot.weight for spot in spots], [half, half + 2, 0])
    assert not scene.source.windows
    finer = label_spots([Area(scene, windows, array_labels(codes))], classes=2, size=7)
    np.testing.assert_allclose(sum(spot.weight for spot in finer), 2 * half + 2)


def test_labels_that_cannot_be_trained_on_are_refused(array_scene, array_labels):
    scene = array_scene(np.ones((1, 2, 4, 4), np.uint16))
    windows = (Window(0, 0, 4, 4),)

    def weigh(labels):
        return label_spots([Area(scene, windows, labels)], classes=2, size=4)

    with pytest.raises(LabelError, match="memory has no labels"):
        weigh(None)
    with pytest.raises(LabelError, match="no pixel of the training area is labelled"):
        weigh(array_labels(np.full((4, 4), IGNORE, np.uint8)))
    with pytest.raises(LabelError, match="labels hold code 2; needed 0 to 1, or 255"):
        weigh(array_labels(np.full((4, 4), 2, np.uint8)))
    with pytest.raises(LabelError, match="all labels of the training area are class 1; needed two"):
        weigh(array_labels(np.full((4, 4), 1, np.uint8)))
    areas = [Area(scene, windows)]
    with pytest.raises(TilingError, match="no part of the training area has pixels"):
        TileDataset(areas, valid_spots(areas, [[[0]]]), size=2, length=1)


def test_no_sample_is_drawn_where_a_scene_is_fill(array_scene):
    valid = np.zeros((1, 600, 1100), bool)
    valid[:, 520:, 1030:] = True
    areas = areas_of([array_scene(np.ones((1, 2, 600, 1100), np.uint16), valid)], None)
    counts = [[int(valid[0][c.slices].sum()) for c in cells(areas[0].windows[0], size=BLOCK)]]
    dataset = TileDataset(areas, valid_spots(areas, [counts]), size=64, length=40)
    assert all(dataset[index].valid.any() for index in range(40))
