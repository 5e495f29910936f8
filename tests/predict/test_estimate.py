"""The forecast against what a run really does: its facts exactly, its arithmetic step by step."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from geofm.predict import engine, probe
from geofm.predict.engine import MapOptions
from geofm.predict.estimate import estimate_map, forecast
from geofm.predict.infer import Inference
from geofm.predict.mapping import map_in_memory, map_to_file
from geofm.predict.plan import Layout
from geofm.predict.probe import Costs, Sample
from geofm.predict.scratch import Scratch
from geofm.predict.stitch import BlendBuffer
from geofm.scenes.open import open_scene

COSTS = Costs(
    start=3.0,
    batch=0.5,
    window=0.01,
    finish=1e-3,
    read=2e-3,
    write=1e-4,
    written=0.25,
    resident=10**9,
)
EVERY_WINDOW = Sample(np.empty(0), np.empty(0, bool), looked_at=1, mapped=1, seconds=0)


@pytest.fixture
def done(monkeypatch):
    """What a run does, counted where it does it."""
    batches, windows = [], []
    logits, add = Inference.logits, BlendBuffer.add
    monkeypatch.setattr(
        Inference, "logits", lambda self, *given: batches.append(1) or logits(self, *given)
    )
    monkeypatch.setattr(
        BlendBuffer,
        "add",
        lambda self, window, values: windows.append(window) or add(self, window, values),
    )
    return batches, windows


@pytest.mark.parametrize("layout", [Layout(150, 2), Layout(61, 1)])
def test_seconds_are_the_steps_of_the_run_times_their_costs(
    tiny_model, write_raster, dn_of, done, monkeypatch, layout
):
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: layout)
    model, scene = tiny_model(), open_scene(write_raster(dn_of(200, 150)))
    job = engine.prepare(model, scene, MapOptions())
    found = forecast(job, EVERY_WINDOW, COSTS)
    map_in_memory(model, scene)
    batches, windows = map(len, done)
    pixels = 200 * 150
    # The first block of a strip below its top adds the windows above it again; here none does.
    expected = 3 + 0.5 * batches + 0.01 * windows + pixels * (1e-3 + 2e-3 + 1e-4)
    assert found.seconds == pytest.approx(expected)
    assert found.output == pixels // 4


def test_a_gpu_waits_for_the_slower_of_reading_and_computing(tiny_model, write_raster, dn_of):
    scene = open_scene(write_raster(dn_of(200, 150)))
    job = engine.prepare(tiny_model(), scene, MapOptions())
    gpu = replace(job, device=replace(job.device, threads=0))
    slow_disk = replace(COSTS, read=1.0)
    quick_disk = replace(COSTS, read=0.0)
    assert forecast(gpu, EVERY_WINDOW, quick_disk) == replace(
        forecast(job, EVERY_WINDOW, quick_disk), costs=quick_disk
    )
    assert (
        forecast(gpu, EVERY_WINDOW, slow_disk).seconds
        < forecast(job, EVERY_WINDOW, slow_disk).seconds
    )


def test_windows_and_disk_are_those_of_the_run(
    tiny_model, write_raster, dn_of, done, tmp_path, monkeypatch
):
    dn = dn_of(200, 150)
    dn[:, 60:, 40:] = 0
    model, scene = tiny_model(), open_scene(write_raster(dn, block=16))
    options = MapOptions(probabilities=True)
    found = estimate_map(model, scene, options)
    done[1].clear()
    raw = {}
    remove = Scratch.remove
    monkeypatch.setattr(
        Scratch,
        "remove",
        lambda self: (
            raw.update({p.name: p.stat().st_size for p in self.folder.glob("*.raw")})
            or remove(self)
        ),
    )
    report = map_to_file(model, scene, tmp_path / "map.tif", options=options)
    assert found.exact
    assert found.windows == len(set(done[1])) < found.windows_in_plan
    assert found.disk - found.output == sum(raw.values()) == 200 * 150 * 5
    assert found.output == round(200 * 150 * found.costs.written)
    assert report.pixels == 200 * 150


def test_a_probe_of_few_windows_tells_their_share(tiny_model, write_raster, dn_of):
    """A clock that gives every step a second: reading stops after four of them."""
    dn = dn_of(300, 300)
    dn[:, :, 150:] = 0
    scene = open_scene(write_raster(dn, block=16))
    job = engine.prepare(tiny_model(), scene, MapOptions())
    ticks = count()
    sample = probe.take_sample(job, lambda: float(next(ticks)))
    assert sample.looked_at == 5
    assert 0 < sample.mapped < 5
    costs = probe.measure(job, sample, lambda: float(next(ticks)))
    assert costs.batch == 1.0
    assert costs.window == pytest.approx(1 / sample.mapped)
    assert costs.start == 1.0  # the files; the first batch took as long as the others
    assert costs.write == 0.0  # large files took as long as small ones
    found = forecast(job, sample, costs)
    assert not found.exact
    assert found.windows == round(sample.mapped / 5 * found.windows_in_plan)


def test_every_window_is_looked_at_once(tiny_model, write_raster, dn_of):
    for side in (20, 64, 130, 200):
        scene = open_scene(write_raster(dn_of(side, side), f"{side}.tif"))
        job = engine.prepare(tiny_model(), scene, MapOptions())
        sample = probe.take_sample(job, lambda: 0.0)
        assert sample.looked_at == sample.mapped == len(job.plan.rows) * len(job.plan.cols)


def test_a_scene_without_data_costs_no_forward_pass(tiny_model, write_raster, tmp_path):
    scene = open_scene(write_raster(np.zeros((2, 70, 80), np.uint16)), scale=1e-4)
    model = tiny_model()

    def refuse(*_):
        raise AssertionError("no window has a pixel to map")

    model.segmenter.register_forward_pre_hook(refuse)
    found = estimate_map(model, scene)
    assert found.windows == 0
    assert found.costs.batch == 0
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"], "nothing is left"
