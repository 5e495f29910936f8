"""A map on Dask: the bytes of the map in memory, from the chunks that are asked for."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm.errors import ConfigError
from geofm.predict import lazy
from geofm.predict.engine import MapOptions, prepare
from geofm.predict.mapping import map_in_memory
from geofm.scenes.arrayparts import without_pixels
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window

da = pytest.importorskip("dask.array")
BOTH = MapOptions(probabilities=True)


def cube_of(numbers, *, quality=None):
    """Stored numbers (T, C, H, W) as odc-stac gives them: a variable a band."""
    import xarray as xr

    dates, _, height, width = numbers.shape
    whole = xr.Dataset(
        {name: (("time", "y", "x"), numbers[:, at]) for at, name in enumerate(("red", "nir08"))},
        coords={
            "time": np.arange(dates).astype("datetime64[D]").astype("datetime64[ns]"),
            "y": 5_800_000 - 10 * (np.arange(height) + 0.5),
            "x": 400_000 + 10 * (np.arange(width) + 0.5),
        },
        attrs={"crs": "EPSG:32633", "level": "surface"},
    )
    for band in whole.data_vars.values():
        band.attrs |= {"scale_factor": 1e-4, "_FillValue": 0}
    return whole if quality is None else whole.assign(scl=(("time", "y", "x"), quality))


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of two windows, so that a small map has many."""
    monkeypatch.setattr(lazy, "CHUNK_SIDE", 64)
    monkeypatch.setattr(lazy, "MIN_WINDOWS", 2)


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(2, 200),
    width=st.integers(2, 200),
    dates=st.integers(1, 2),
    clouds=st.booleans(),
    chunks=st.tuples(st.integers(20, 210), st.integers(20, 210)),
)
def test_any_chunks_give_the_bytes_of_the_map_in_memory(
    small_chunks, tiny_model, dn_of, height, width, dates, clouds, chunks
):
    dn = np.stack([dn_of(height, width, seed=at) for at in range(dates)])
    dn[:, :, height // 3 : height // 2, width // 4 :] = 0
    scl = np.where(dn[:, 0] > 3000, 9, 4).astype(np.uint8) if clouds else None
    model, cube = tiny_model(dates=dates), cube_of(dn, quality=scl)
    if clouds:
        model = replace(model, contract=replace(model.contract, masked_qa=("cloud",)))
    whole = map_in_memory(model, open_scene(cube), options=BOTH)
    chunked = cube.chunk({"y": chunks[0], "x": chunks[1]})
    parts = lazy.map_lazily(model, open_scene(chunked), options=BOTH)
    assert parts.recipe == whole.recipe
    np.testing.assert_array_equal(parts.classes, whole.classes)
    np.testing.assert_array_equal(parts.confidence, whole.confidence)
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)


def test_a_corner_costs_its_chunks_and_the_whole_reads_each_chunk_once(
    small_chunks, tiny_model, dn_of
):
    read, lock = [], threading.Lock()

    def load(block, block_info=None):
        with lock:
            read.append(tuple(block_info[0]["chunk-location"]))
        return block

    dn = dn_of(300, 300)[None]
    cube = cube_of(da.from_array(dn, chunks=(1, 2, 50, 50)).map_blocks(load, dtype=dn.dtype))
    scene = open_scene(cube)
    assert len(read) < 36 / 4  # a few places, to check units
    read.clear()
    # "auto" looks at a few windows where the processor has bfloat16.
    options = MapOptions(precision="fp32")
    found = lazy.map_lazily(tiny_model(), scene, options=options)
    assert not read
    corner = found.classes[:20, :20].compute()
    assert 0 < len(set(read)) < 36 / 4
    read.clear()
    whole = found.classes.compute()
    # A chunk of two bands is cut in two, one for each: it is loaded once all the same.
    assert len(read) == len(set(read)) == 36
    np.testing.assert_array_equal(corner, whole[:20, :20])


def test_chunks_suit_zarr_and_cover_the_grid(tiny_model, dn_of):
    job = prepare(tiny_model(), open_scene(cube_of(dn_of(40, 40)[None])), MapOptions())
    for length in (1, 31, 2048, 2049, 5000, 40_000):
        sides = [size for _, size in lazy._sides(job, length)]
        assert sum(sides) == length
        assert set(sides[:-1]) <= {sides[0]}
        assert sides[-1] <= sides[0] <= 2048
        assert len(sides) == 1 or sides[0] % (job.plan.size - job.plan.overlap) == 0


def test_a_worker_of_another_kind_is_refused(tiny_model, dn_of):
    scene = open_scene(cube_of(dn_of(40, 40)[None]).chunk())
    job = prepare(tiny_model(), scene, MapOptions())
    light = replace(job.match, scene=without_pixels(job.scene))
    job = replace(job, match=light, device=replace(job.device, hardware="NEON"))
    area = Window(0, 0, 40, 40)
    with pytest.raises(ConfigError, match=r"begun with NEON.*workers of one kind"):
        lazy.map_chunk(job, area, area, None)


@pytest.mark.slow
def test_other_processes_give_the_same_bytes(small_chunks, tiny_model, dn_of):
    model, cube = tiny_model(), cube_of(dn_of(150, 150)[None])
    whole = map_in_memory(model, open_scene(cube))
    parts = lazy.map_lazily(model, open_scene(cube.chunk({"y": 70, "x": 150})))
    found = parts.classes.compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(found, whole.classes)
