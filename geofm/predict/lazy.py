"""A map that Dask computes chunk by chunk: the bytes of the whole map, in whatever order.

A chunk of the map needs the pixels of the windows that touch it. Dask loads each chunk of the
scene's own arrays once for all chunks of the map around it; windows on the border of two chunks
of the map are computed in both.
"""

from dataclasses import dataclass, replace
from math import isqrt
from threading import Lock
from typing import cast

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import delayed

from geofm.errors import ConfigError
from geofm.model.folder import TrainedModel
from geofm.predict.engine import MapJob, MapOptions, input_bytes, prepare, run
from geofm.predict.infer import Precision, choose_device
from geofm.predict.mapping import ArraySink
from geofm.predict.plan import WindowPlan
from geofm.predict.recipe import Recipe
from geofm.scenes.arrayparts import Blocks, blocks_over, lazy_blocks, with_part, without_pixels
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

# A side at which few windows are computed twice, and a look at a corner is still quick.
CHUNK_SIDE = 2048
# Stored pixels under one chunk of the map, where several bands and dates make it smaller.
CHUNK_BYTES = 256 * 2**20
MIN_WINDOWS = 4
# A model takes all cores, and the memory of one chunk is enough: the others wait.
_ONE_CHUNK = Lock()


@dataclass(frozen=True, slots=True)
class LazyMap:
    """A map that is not computed yet; fields as `geofm.predict.mapping.MapArrays`."""

    classes: da.Array
    confidence: da.Array
    probabilities: da.Array | None
    recipe: Recipe


def map_lazily(model: TrainedModel, scene: Scene, *, options: MapOptions | None = None) -> LazyMap:
    """Plan a map of a scene that Dask computes; pixels are read when the map is.

    Where ``precision="auto"`` may choose bfloat16, a few windows are read now to check it.

    Raises:
        GeofmError: the scene does not fit the model.
    """
    job = prepare(model, scene, options or MapOptions())
    light = replace(job, match=replace(job.match, scene=without_pixels(job.scene)))
    held = delayed(light, traverse=False)
    blocks = lazy_blocks(job.scene)
    rows, cols = (_sides(job, length) for length in job.scene.shape)
    chunks: list[list[da.Array]] = []
    for row, height in rows:
        line = []
        for col, width in cols:
            area = Window(row, col, height, width)
            needed = seen_over(job.plan, area)
            part = blocks_over(blocks, needed)
            layers = delayed(map_chunk, pure=False)(held, area, needed, part)
            shape = (2 + _kept(job), height, width)
            line.append(da.from_delayed(layers, shape, np.uint8))  # type: ignore[no-untyped-call]
        chunks.append(line)
    stacked = da.block(chunks)  # type: ignore[no-untyped-call]
    return LazyMap(
        classes=stacked[0],
        confidence=stacked[1],
        probabilities=stacked[2:] if _kept(job) else None,
        recipe=job.recipe,
    )


def map_chunk(job: MapJob, area: Window, needed: Window, part: Blocks) -> npt.NDArray[np.uint8]:
    """Map one chunk, wherever Dask sends it.

    Args:
        job: of the whole grid, without its pixels.
        area: the chunk.
        needed: `seen_over` it.
        part: the stored pixels over ``needed``.

    Returns:
        (2 + K, area.height, area.width): classes, confidence, and what is kept of K
        probabilities, as `geofm.predict.mapping.MapArrays`.

    Raises:
        ConfigError: this processor is another than the recipe's.
    """
    device = choose_device(cast(Precision, job.device.precision), job.device.name)
    if device.hardware != job.device.hardware:
        raise ConfigError(
            f"this worker computes with {device.hardware}; the map was begun with "
            f"{job.device.hardware}, and would differ from chunk to chunk; take workers of one "
            "kind, and plan the map (da.geofm.map) on one of them"
        )
    match = replace(job.match, scene=with_part(job.scene, needed, part))
    layout = replace(job.layout, area=area)
    kept = _kept(job)
    sink = ArraySink((area.height, area.width), kept, corner=(area.row, area.col))
    with _ONE_CHUNK:
        run(replace(job, match=match, layout=layout), sink)
    probabilities = () if sink.probabilities is None else sink.probabilities
    return np.stack([sink.classes, sink.confidence, *probabilities])


def seen_over(plan: WindowPlan, area: Window) -> Window:
    """The pixels of all windows over an area, the row above it and the column before."""
    rows = plan.rows_over(max(area.row - 1, 0), area.stop_row)
    cols = plan.cols_over(max(area.col - 1, 0), area.stop_col)
    row, col = plan.rows[rows.start], plan.cols[cols.start]
    stop_row, stop_col = (plan.rows[rows.stop - 1], plan.cols[cols.stop - 1])
    seen = Window(row, col, stop_row + plan.size - row, stop_col + plan.size - col)
    return seen.clip(plan.height, plan.width)


def _sides(job: MapJob, length: int) -> list[tuple[int, int]]:
    """First pixel and length of the chunks of a side: all alike but the last, as Zarr asks."""
    step = job.plan.size - job.plan.overlap
    wanted = min(CHUNK_SIDE, isqrt(CHUNK_BYTES // (input_bytes(job.scene) + 2 + _kept(job))))
    most = max(wanted // step, MIN_WINDOWS) * step
    # Windows of a side are dealt out evenly: a sliver would cost as much as a chunk.
    even = -(-length // -(-length // most))
    side = -(-even // step) * step
    return [(start, min(side, length - start)) for start in range(0, length, side)]


def _kept(job: MapJob) -> int:
    """Probabilities kept of a pixel."""
    return job.classes if job.options.probabilities else 0
