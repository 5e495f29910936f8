"""A probe of a map to be: a little of every step, timed, on the scene itself.

Some windows are read, one batch of them is mapped a few times, their pixels are finished,
and a small map of them is written.
"""

import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from geofm.export.geotiff import write_cog
from geofm.model.calibration import Calibration
from geofm.predict.engine import MapJob, inference_of
from geofm.predict.plan import pieces
from geofm.predict.publish import map_layers
from geofm.predict.rows import alignment, codes_of, whole_window
from geofm.predict.stitch import BlendBuffer, MapPiece, finish_piece
from geofm.scenes.ground import crop
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import NODATA

Clock = Callable[[], float]
# Seconds that reading and the forward passes may take; with the small rest, within 20 s.
_READING, _PASSES = 4.0, 10.0
_SAMPLES = 256
# Sides of the small maps that are written, pixels: the larger tells what a pixel costs more.
_WRITTEN = (256, 1024)


@dataclass(frozen=True, slots=True)
class Costs:
    """What the steps of a map cost on this machine, seconds unless said.

    Attributes:
        start: of a run: its first batch over any other, and opening the files it writes.
        batch: a forward pass of one batch.
        window: to blend the logits of one window.
        finish: a pixel from logits to classes and confidence.
        read: a stored pixel of all bands and dates, in one thread.
        write: a pixel of the finished files, all layers.
        written: bytes of a pixel in the finished files.
        resident: bytes that the process has held at most, the model and one batch included.
    """

    start: float
    batch: float
    window: float
    finish: float
    read: float
    write: float
    written: float
    resident: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Windows of a scene that were looked at.

    Attributes:
        dn, valid: of up to a batch of those that have something to map.
        looked_at, mapped: how many there were of all and of those.
        seconds: a stored pixel took to read.
    """

    dn: npt.NDArray[np.generic]
    valid: npt.NDArray[np.bool_]
    looked_at: int
    mapped: int
    seconds: float


def take_sample(job: MapJob, clock: Clock) -> Sample:
    """Read windows all over the grid, for some seconds, at least one."""
    plan, scene = job.plan, job.scene
    dn: list[npt.NDArray[np.generic]] = []
    valid: list[npt.NDArray[np.bool_]] = []
    looked_at = mapped = 0
    seconds, pixels = 0.0, 0
    for window in islice(plan.spread(), _SAMPLES):
        began = clock()
        hull = _file_blocks(scene, window)
        stored = scene.read_stored(hull)
        seconds += clock() - began
        pixels += hull.height * hull.width
        inside = window.clip(*scene.shape)
        here = (
            slice(inside.row - hull.row, inside.stop_row - hull.row),
            slice(inside.col - hull.col, inside.stop_col - hull.col),
        )
        codes = codes_of(
            stored.valid[:, *here], stored.masked[:, *here], job.model.contract.min_valid_dates
        )
        looked_at += 1
        if (codes == 0).any():
            mapped += 1
            if len(dn) < job.recipe.batch:
                dn.append(whole_window(stored.dn[..., *here], plan.size))
                valid.append(whole_window(stored.valid[..., *here], plan.size))
        if seconds > _READING:
            break
    if not dn:
        return Sample(np.empty(0), np.empty(0, bool), looked_at, mapped, seconds / pixels)
    return Sample(np.stack(dn), np.stack(valid), looked_at, mapped, seconds / pixels)


def measure(job: MapJob, sample: Sample, clock: Clock) -> Costs:
    """Map the sample's batch, finish its pixels and write a small map of them."""
    if not sample.mapped:
        nothing = {layer.name: np.full((1, 1, 1), NODATA, np.uint8) for layer in map_layers(job)}
        files, write, written = _time_writing(job, nothing, clock)
        return Costs(files, 0.0, 0.0, 0.0, sample.seconds, write, written, _resident())
    inference = inference_of(job)
    laps: list[float] = []
    logits: list[torch.Tensor] = []
    while len(laps) < 2 or (sum(laps) < _PASSES and len(laps) < 6):
        began = clock()
        logits = list(inference.logits(sample.dn, sample.valid))
        _wait(inference.device)
        laps.append(clock() - began)
    batch = float(np.median(laps[1:]))
    window, finish, piece = _time_finishing(job, logits, clock)
    rasters = {"classes": piece.classes, "confidence": piece.confidence}
    if piece.probabilities is not None:
        rasters["probabilities"] = piece.probabilities
    files, write, written = _time_writing(job, rasters, clock)
    return Costs(
        start=max(laps[0] - batch, 0.0) + files,
        batch=batch,
        window=window,
        finish=finish,
        read=sample.seconds,
        write=write,
        written=written,
        resident=_resident(),
    )


def _file_blocks(scene: Scene, window: Window) -> Window:
    """The whole blocks of the file that a window touches: what is decoded for it."""
    rows, cols = alignment(scene), scene.block_shape[1]
    row, col = window.row // rows * rows, window.col // cols * cols
    stop_row, stop_col = -(-window.stop_row // rows) * rows, -(-window.stop_col // cols) * cols
    return Window(row, col, stop_row - row, stop_col - col).clip(*scene.shape)


def _time_finishing(
    job: MapJob, logits: list[torch.Tensor], clock: Clock
) -> tuple[float, float, MapPiece]:
    """Seconds to blend a window and to finish a pixel, and what came of some pixels."""
    plan = job.plan
    cols = plan.cols[: len(logits)]
    area = Window(0, 0, min(plan.size, plan.height), min(cols[-1] + plan.size, plan.width))
    began = clock()
    buffer = BlendBuffer(plan, area, job.classes, logits[0].device)
    for col, one in zip(cols, logits, strict=False):
        buffer.add(Window(0, col, plan.size, plan.size), one)
    _wait(logits[0].device)
    blended = clock()
    made = [
        finish_piece(
            buffer,
            np.zeros((owned.height, owned.width), np.uint8),
            plan=plan,
            area=owned,
            owned=owned,
            calibration=job.model.calibration or Calibration(),
            keep_probabilities=job.options.probabilities,
            keep_logits=False,
        )
        for owned in pieces(area, job.classes)
    ]
    finish = (clock() - blended) / (area.height * area.width)
    return (blended - began) / len(cols), finish, made[0]


def _time_writing(
    job: MapJob, rasters: Mapping[str, npt.NDArray[np.uint8]], clock: Clock
) -> tuple[float, float, float]:
    """Seconds for the files at all, seconds for each pixel of them, and bytes a pixel.

    Args:
        rasters: some pixels of each layer, repeated as far as needed.
    """
    seconds, written = [], 0
    with TemporaryDirectory(prefix="geofm-") as folder:
        for side in _WRITTEN:
            began, written = clock(), 0
            for layer in map_layers(job):
                raster = rasters[layer.name]
                planes = raster.reshape(-1, *raster.shape[-2:])
                repeats = [-(-side // length) for length in planes.shape[-2:]]
                raw, out = Path(folder) / f"{layer.name}.raw", Path(folder) / f"{layer.name}.tif"
                np.tile(planes, (1, *repeats))[:, :side, :side].tofile(raw)
                write_cog(raw, layer, crop(job.scene.geobox, Window(0, 0, side, side)), out)
                written += out.stat().st_size
            seconds.append(clock() - began)
    small, large = (side**2 for side in _WRITTEN)
    pixel = max(seconds[1] - seconds[0], 0.0) / (large - small)
    return max(seconds[0] - small * pixel, 0.0), pixel, written / large


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _resident() -> int:
    """The most bytes that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
