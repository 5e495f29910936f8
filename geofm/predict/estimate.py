"""How long a map will take, and what it needs: a probe of some seconds, then arithmetic.

What each step costs, as `geofm.predict.probe` finds it, times how often the plan does it.
"""

import os
import time
from dataclasses import dataclass

from geofm.model.folder import TrainedModel
from geofm.predict.allocator import keep_freed_memory
from geofm.predict.engine import READERS, MapJob, MapOptions, input_bytes, prepare
from geofm.predict.plan import layout_bytes
from geofm.predict.probe import Clock, Costs, Sample, measure, take_sample
from geofm.predict.publish import map_layers
from geofm.predict.rows import source_rows
from geofm.scenes.cache import CACHE_BYTES, source_cache
from geofm.scenes.reader import Scene


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a map will take.

    Attributes:
        seconds: of `map_to_file`; the model is loaded and the scene is open.
        memory: peak of the process, bytes, with the model and the libraries.
        disk: bytes in the folder of the output, at most, while the map is written.
        output: bytes of these that stay.
        windows: to be computed, those without data left out.
        windows_in_plan: all of them.
        exact: whether every window was looked at; else ``windows`` is drawn from a sample.
        costs: what was measured.
    """

    seconds: float
    memory: int
    disk: int
    output: int
    windows: int
    windows_in_plan: int
    exact: bool
    costs: Costs


def estimate_map(
    model: TrainedModel | MapJob,
    scene: Scene,
    options: MapOptions | None = None,
    *,
    clock: Clock = time.perf_counter,
) -> Estimate:
    """Forecast `geofm.predict.mapping.map_to_file` of this model, scene and options.

    Takes up to some 20 s. Nothing is left on the disk; polygons and pages are not counted.

    Args:
        model: or the job that `prepare` made of it; then ``options`` are the job's.

    Raises:
        GeofmError: the scene does not fit the model, or cannot be read.
    """
    job = model if isinstance(model, MapJob) else prepare(model, scene, options or MapOptions())
    keep_freed_memory()
    with source_cache():
        sample = take_sample(job, clock)
        costs = measure(job, sample, clock)
    return forecast(job, sample, costs)


def forecast(job: MapJob, sample: Sample, costs: Costs) -> Estimate:
    """The arithmetic: steps of the plan times what each costs."""
    plan, layout = job.plan, job.layout
    pixels = plan.height * plan.width
    share = sample.mapped / sample.looked_at
    windows = batches = 0
    for blocks in layout.strips(plan):
        area = blocks[0].area
        cols = len(plan.cols_over(max(area.col - 1, 0), area.stop_col))
        for block in blocks:
            of_block = (block.window_rows[1] - block.window_rows[0]) * cols
            windows += of_block
            batches += -(-of_block // job.recipe.batch)
    computing = (
        costs.start
        + share * (batches * costs.batch + windows * costs.window)
        + pixels * costs.finish
    )
    reading = pixels * costs.read / min(READERS, job.device.threads or os.cpu_count() or 1)
    # Readers and a GPU work at the same time; readers and a CPU share its cores.
    seconds = computing + reading if job.device.threads else max(computing, reading)
    dates, bands = len(job.scene.dates), len(job.scene.bands)
    of_pixel = input_bytes(job.match.scene)
    decoded = pixels * dates * bands * job.scene.dtype.itemsize
    memory = layout_bytes(
        plan,
        layout,
        classes=job.classes,
        input_bytes=of_pixel,
        source_rows=source_rows(job.scene, plan.size - plan.overlap),
    )
    raw = pixels * sum(len(layer.bands) for layer in map_layers(job))
    output = round(pixels * costs.written)
    planned = len(plan.rows) * len(plan.cols)
    return Estimate(
        seconds=seconds + pixels * costs.write,
        memory=costs.resident + memory + min(decoded, CACHE_BYTES),
        disk=raw + output,
        output=output,
        windows=round(share * planned),
        windows_in_plan=planned,
        exact=sample.looked_at == planned,
        costs=costs,
    )
