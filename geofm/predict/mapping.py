"""Map a scene with a model: streamed to a file in bounded memory, or into arrays."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geofm.export.webmap import SIDE
from geofm.model.folder import TrainedModel
from geofm.page import Page
from geofm.predict.engine import MapJob, MapOptions, Progress, prepare, run
from geofm.predict.pages import map_rows
from geofm.predict.plan import Block
from geofm.predict.publish import check_output, map_layers, publish
from geofm.predict.recipe import Recipe
from geofm.predict.scratch import open_scratch
from geofm.predict.stitch import MapPiece, SeamSums
from geofm.scenes.mercator import mercator_grid
from geofm.scenes.reader import Scene
from geofm.tasks import NODATA


@dataclass(frozen=True, slots=True)
class MapArrays:
    """A map in memory.

    Attributes:
        classes: (H, W) uint8, classes and codes (253 unsure, 254 masked, 255 no data).
        confidence: (H, W) uint8, percent, 255 no data.
        probabilities: (K, H, W) uint8, steps of 0.004, 255 no data; None if not asked.
        geobox: the scene's.
        seam_score: 1 means no seams; None where the map is one window.
        recipe: what the bytes depend on.
    """

    classes: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.uint8] | None
    geobox: GeoBox
    seam_score: float | None
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class MapReport:
    """What a run did.

    Attributes:
        path: the map.
        files: everything written, by role.
        pixels: of the grid.
        seconds: of this run.
        seam_score: as `MapArrays`.
        passes: forward passes a pixel, from the overlap.
        substitutions: bands that stood in for others.
        resumed_blocks: blocks that an earlier run had finished.
        blocks: of the whole map.
        recipe: what the bytes depend on.
    """

    path: Path
    files: Mapping[str, Path]
    pixels: int
    seconds: float
    seam_score: float | None
    passes: float
    substitutions: tuple[str, ...]
    resumed_blocks: int
    blocks: int
    recipe: Recipe

    def __str__(self) -> str:
        return str(Page("map", str(self.path), tuple(map_rows(self))))

    __repr__ = __str__


def map_to_file(
    model: TrainedModel,
    scene: Scene,
    out: str | Path,
    *,
    options: MapOptions | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> MapReport:
    """Map a scene into a Cloud-Optimized GeoTIFF, streamed and resumable.

    Beside ``OUT.tif`` stand ``OUT_confidence.tif``, with ``probabilities`` also
    ``OUT_probabilities.tif``, and ``OUT.json``, the STAC item with the receipt; the
    ``polygons`` and the ``html`` page stand where the options say. They appear together at the
    end, the map last; until then, and after a kill, there is only the folder
    ``.OUT.tif.partial``.

    Args:
        scene: any bands in any order; it is matched with the model's pixel contract.
        out: ends in ``.tif``.
        command: what the user typed, for the receipt.
        progress: called with the share done (0 to 1) and a line of text.

    Raises:
        GeofmError: the scene does not fit the model, the output exists or cannot be
            written.
        Stopped: SIGTERM came; what is done is kept for ``resume``.
    """
    started = time.monotonic()
    options, out = options or MapOptions(), Path(out)
    check_map(scene, out, options)
    job = prepare(model, scene, options)
    report = write_map(job, out, command=command, progress=progress)
    return replace(report, seconds=time.monotonic() - started)


def check_map(scene: Scene, out: Path, options: MapOptions) -> None:
    """Refuse a map that cannot be written, before any work is done.

    Raises:
        OutputError: as `check_output`.
        GridError: the page of ``html`` cannot show the scene's grid.
    """
    check_output(
        out,
        inputs=scene.paths,
        polygons=options.polygons,
        simplify=options.simplify,
        html=options.html,
        resume=options.resume,
        overwrite=options.overwrite,
    )
    if options.html is not None:
        mercator_grid(scene.geobox, SIDE)  # refuses what no web map shows


def write_map(
    job: MapJob, out: Path, *, command: str = "", progress: Progress | None = None
) -> MapReport:
    """Do a job that was prepared, into the files that `map_to_file` tells of.

    Args:
        out: that `check_map` lets pass.
        command, progress: as `map_to_file`.

    Raises:
        GeofmError: the output cannot be written.
        Stopped: as `map_to_file`.
    """
    started, options = time.monotonic(), job.options
    with (
        open_scratch(
            out,
            shape=job.scene.shape,
            layers={layer.name: len(layer.bands) for layer in map_layers(job)},
            plan=_identity(job),
            resume=options.resume,
            restart=options.overwrite and not options.resume,
        ) as scratch,
        stop_on_sigterm() as stopped,
    ):
        resumed = len(scratch.done)
        run(job, scratch, progress=progress, stopped=stopped)
        seams = sum(scratch.done.values(), SeamSums())
        if progress:
            progress(1.0, "writing the map")
        files = publish(job, scratch, out, seams=seams, command=command)
        blocks = len(scratch.done)
    return MapReport(
        path=out,
        files=files,
        pixels=job.plan.height * job.plan.width,
        seconds=time.monotonic() - started,
        seam_score=seams.score,
        passes=job.plan.passes,
        substitutions=job.match.substitutions,
        resumed_blocks=resumed,
        blocks=blocks,
        recipe=job.recipe,
    )


def map_in_memory(
    model: TrainedModel,
    scene: Scene,
    *,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> MapArrays:
    """Map a scene into arrays: the same bytes as `map_to_file` writes.

    Raises:
        GeofmError: the scene does not fit the model.
    """
    options = options or MapOptions()
    job = prepare(model, scene, options)
    sink = ArraySink(scene.shape, job.classes if options.probabilities else 0)
    run(job, sink, progress=progress)
    return MapArrays(
        classes=sink.classes,
        confidence=sink.confidence,
        probabilities=sink.probabilities,
        geobox=scene.geobox,
        seam_score=sum(sink.done.values(), SeamSums()).score,
        recipe=job.recipe,
    )


class ArraySink:
    """Finished pieces in memory.

    Args:
        shape: rows and columns.
        probabilities: how many are kept of each pixel.
        corner: row and column of the grid at which the arrays begin.
    """

    def __init__(
        self, shape: tuple[int, int], probabilities: int, *, corner: tuple[int, int] = (0, 0)
    ) -> None:
        self.classes = np.full(shape, NODATA, np.uint8)
        self.confidence = np.full(shape, NODATA, np.uint8)
        self.probabilities = (
            np.full((probabilities, *shape), NODATA, np.uint8) if probabilities else None
        )
        self.corner = corner
        self.done: dict[int, SeamSums] = {}

    def write(self, piece: MapPiece) -> None:
        row, col = piece.area.row - self.corner[0], piece.area.col - self.corner[1]
        here = piece.area._replace(row=row, col=col).slices
        self.classes[here] = piece.classes
        self.confidence[here] = piece.confidence
        if self.probabilities is not None and piece.probabilities is not None:
            self.probabilities[:, *here] = piece.probabilities

    def finish(self, block: Block, seams: SeamSums) -> None:
        self.done[block.index] = seams


def _identity(job: MapJob) -> dict[str, object]:
    """What an unfinished run must share with the one that resumes it."""
    return {
        "recipe": job.recipe.plain(),
        "layout": [job.layout.strip_width, job.layout.block_rows],
        "probabilities": job.options.probabilities,
        "scene": [*job.scene.paths, *(_file_state(path) for path in job.scene.paths)],
        # What the user says of a scene, such as a fill, is in no file of it.
        "read_as": job.scene.identity,
    }


def _file_state(path: str) -> list[int] | None:
    """Size and time of a local file, so that a changed scene is not resumed."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Note SIGTERM instead of dying of it, so that the work in hand can be finished."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
