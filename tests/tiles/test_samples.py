"""Samples of many dates, from many threads, from files that fail: still functions of an index."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm.errors import SceneError
from geofm.scenes.window import Window
from geofm.tiles.area import Area, areas_of
from geofm.tiles.dataset import Spot, TileDataset
from geofm.tiles.statistics import measure_statistics
from geofm.tiles.transforms import TURNS, turn, unturned

HEIGHT, WIDTH = 300, 400


def numbered(array_scene, *, dates=1, **options):
    """A scene whose pixels tell their date, row and column."""
    number = np.arange(dates * HEIGHT * WIDTH, dtype=np.int32).reshape(dates, 1, HEIGHT, WIDTH)
    return array_scene(number, bands=("red",), **options)


def dataset_of(scenes, *, size=32, **options):
    areas = areas_of(scenes, None)
    spots = [Spot(n, area.windows[0], area.windows[0], 1.0) for n, area in enumerate(areas)]
    return TileDataset(areas, spots, size=size, length=400, **options)


def equal(a, b):
    return all(
        torch.allclose(x, y, rtol=0, atol=0, equal_nan=True) for x, y in zip(a, b, strict=True)
    )


@given(st.integers(0, TURNS - 1), st.integers(1, 5))
def test_what_is_written_unturned_reads_turned(code, side):
    before = np.arange(2 * side * side).reshape(2, side, side)
    after = np.zeros_like(before)
    unturned(after, code)[...] = before
    assert torch.from_numpy(after).equal(turn(torch.from_numpy(before), code))


def test_dates_are_drawn_ascending_by_index_alone(array_scene):
    days = tuple(date(2020, month, 1) for month in range(1, 8))
    scene = replace(numbered(array_scene, dates=7), dates=days)
    dataset = dataset_of([scene], dates=3)
    chosen = [dataset.draw(i).dates for i in range(400)]
    assert all(len(set(one)) == 3 and list(one) == sorted(one) for one in chosen)
    assert len(set(chosen)) == 35
    for index in (0, 7, 200):
        sample, draw = dataset[index], dataset.draw(index)
        assert sample.dn.shape == (3, 1, 32, 32)
        rows, cols = draw.window.slices
        wanted = scene.source.dn[list(draw.dates)][:, :, rows, cols].astype(np.float32)
        assert sample.dn.equal(turn(torch.from_numpy(wanted), draw.turn))
        assert sample.when[:, 0].eq(2020).all()
        assert sample.when[:, 1].tolist() == [days[at].timetuple().tm_yday - 1 for at in draw.dates]
    whole = dataset_of([scene])
    assert whole[0].dn.shape == (7, 1, 32, 32)


def test_samples_tell_where_they_lie(array_scene):
    from geofm.scenes.ground import crop, footprint

    dataset = dataset_of([numbered(array_scene)])
    for index in range(5):
        outline = footprint(crop(dataset.areas[0].scene.geobox, dataset.draw(index).window))
        latitude, longitude = dataset[index].where.tolist()
        assert longitude == pytest.approx(outline.centroid.x, abs=1e-5)
        assert latitude == pytest.approx(outline.centroid.y, abs=1e-5)
    sample = dataset_of([numbered(array_scene, crs=None)])[0]
    assert sample.where.isnan().all()
    assert sample.when.isnan().all()


@dataclass
class Slow:
    """A source that counts its reads and lets other threads come between."""

    inner: object
    reads: list = field(default_factory=list)
    busy: set = field(default_factory=set)
    twice: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    dtype = np.dtype(np.int32)
    block_shape = (64, 64)

    def read(self, window, dates, bands):
        keys = {(window, date) for date in dates}
        with self.lock:
            self.twice |= bool(keys & self.busy)
            self.busy |= keys
            self.reads += keys
        threading.Event().wait(0.002)
        found = self.inner.read(window, dates, bands)
        with self.lock:
            self.busy -= keys
        return found


def test_threads_read_the_same_samples_and_decode_no_cell_twice(array_scene):
    plain = numbered(array_scene, dates=4)
    expected = [dataset_of([plain], dates=2)[i] for i in range(120)]
    for limit in (10**9, 600_000):
        source = Slow(plain.source)
        dataset = dataset_of([replace(plain, source=source)], dates=2, cache_bytes=limit)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(dataset.__getitem__, range(120)))
        assert all(map(equal, expected, found))
        assert not source.twice
        cache = dataset._cache
        held = [cell.nbytes for cell in cache._cells.values()]
        assert sum(held) == cache._held <= max(limit, *held)
        assert not cache._coming
        if limit == 10**9:
            assert len(source.reads) == len(set(source.reads))


@dataclass
class Broken:
    """A source that cannot read a part of itself."""

    inner: object
    part: Window

    dtype = np.dtype(np.int32)
    block_shape = (64, 64)

    def read(self, window, dates, bands):
        rows = max(window.row, self.part.row), min(window.stop_row, self.part.stop_row)
        cols = max(window.col, self.part.col), min(window.stop_col, self.part.stop_col)
        if rows[0] < rows[1] and cols[0] < cols[1]:
            raise SceneError("memory: the file is cut off")
        return self.inner.read(window, dates, bands)


def test_a_part_that_cannot_be_read_is_drawn_anew_and_named(array_scene):
    whole = numbered(array_scene)
    broken = replace(whole, source=Broken(whole.source, Window(256, 0, 44, 400)))
    dataset = dataset_of([broken], enough=lambda valid: True)
    samples = [dataset[i] for i in range(60)]
    assert dataset.unreadable == {"memory": "memory: the file is cut off"}
    # In another order, from another thread: the same.
    again = dataset_of([broken], enough=lambda valid: True)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(again.__getitem__, reversed(range(60))))
    assert all(map(equal, samples, reversed(found)))
    # Those whose first choice can be read are as they were.
    plain = dataset_of([whole])
    first = [i for i in range(60) if plain.draw(i).window.stop_row <= 256]
    assert first
    assert all(equal(plain[i], samples[i]) for i in first)
    later = next(i for i in range(60) if plain.draw(i).window.stop_row > 256)
    with pytest.raises(SceneError, match="cut off"):
        dataset_of([broken])[later]
    lost = replace(whole, source=Broken(whole.source, Window(0, 0, HEIGHT, WIDTH)))
    with pytest.raises(SceneError, match="cut off"):
        dataset_of([lost], enough=lambda valid: True)[0]


def test_what_will_not_do_is_drawn_anew(array_scene):
    number = np.ones((1, 1, HEIGHT, WIDTH), np.int32)
    valid = np.zeros((1, HEIGHT, WIDTH), bool)
    valid[:, :, 200:] = True
    scene = array_scene(number, valid, bands=("red",))
    dataset = dataset_of([scene], enough=np.all)
    assert all(dataset[i].valid.all() for i in range(100))
    never = dataset_of([scene], enough=lambda found: False)
    assert never[3].dn.shape == (1, 1, 32, 32)


def test_statistics_leave_out_what_cannot_be_read(array_scene):
    random = np.random.default_rng(0)
    scenes = [
        array_scene(random.integers(1, 9000, (1, 2, 300, 300)).astype(np.uint16)) for _ in range(3)
    ]
    broken = replace(scenes[1], source=Broken(scenes[1].source, Window(290, 290, 1, 1)))
    areas = areas_of([scenes[0], broken, scenes[2]], None)
    with pytest.raises(SceneError, match="cut off"):
        measure_statistics(areas)
    told = []
    found = measure_statistics(areas, skip_unreadable=True, progress=told.append)
    others = measure_statistics(areas_of([scenes[0], scenes[2]], None))
    assert (found.mean, found.std, found.pixels) == (others.mean, others.std, others.pixels)
    assert dict(found.unreadable) == {1: "memory: the file is cut off"}
    assert [found.found(at) for at in range(3)] == [90000, 0, 90000]
    assert told == sorted(told)
    assert told[-1] == 1
    with pytest.raises(SceneError, match="cut off"):
        measure_statistics([Area(broken, (Window(0, 0, 300, 300),))], skip_unreadable=True)
