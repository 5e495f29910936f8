"""The engine: a model, a scene and a recipe in, finished pieces out, into any sink.

The road of one pixel: reader threads (`rows`) -> windows in batches (`infer`) -> blended
logits (`stitch`) -> bytes of finished pieces -> a sink: the scratch of a file, or arrays.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geofm.errors import ConfigError, Stopped
from geofm.model.calibration import Calibration
from geofm.model.folder import TrainedModel
from geofm.predict.allocator import keep_freed_memory
from geofm.predict.compiled import compiling_pays, why_not_compiled
from geofm.predict.infer import (
    Device,
    Inference,
    Precision,
    batch_size,
    choose_device,
    input_shape,
)
from geofm.predict.plan import GIB, Block, Layout, WindowPlan, pieces, plan_layout
from geofm.predict.precision import within_bound
from geofm.predict.recipe import Recipe, make_recipe
from geofm.predict.rows import Rows, read_rows, source_rows
from geofm.predict.stitch import BlendBuffer, MapPiece, SeamSums, finish_piece
from geofm.scenes.cache import source_cache
from geofm.scenes.match import SceneMatch, match_scene
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tiles.windows import usual_overlap

Progress = Callable[[float, str], None]
READERS = 4
D = TypeVar("D", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """How to map.

    Attributes:
        probabilities: keep the probabilities of every class too.
        memory: ceiling over the model itself, bytes.
        precision: ``"auto"``, ``"fp32"`` or ``"bf16"``.
        device: a torch device name; None takes a GPU where there is one.
        overlap: pixels that windows share; None takes what 1.25 forward passes a pixel pay for.
        accept: substitutions the user allows, such as ``{"nir08": "nir"}``.
        resume: go on with an unfinished run of the same recipe.
        overwrite: replace an output that exists, and drop an unfinished run.
        polygons: GeoPackage or GeoParquet to write beside the map, or None.
        min_area: of a polygon, hectares.
        simplify: of polygons, metres; 0 keeps every corner.
        html: page to write beside the map, with the scene under it, or None.
        need_crs: refuse a scene without a CRS; to score, it needs none.
        logits: hand the blended logits to the sink too; no file holds them.
    """

    probabilities: bool = False
    memory: int = 2 * GIB
    precision: Precision = "auto"
    device: str | None = None
    overlap: int | None = None
    accept: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False
    overwrite: bool = False
    polygons: Path | None = None
    min_area: float = 0.0
    simplify: float = 0.0
    html: Path | None = None
    need_crs: bool = True
    logits: bool = False


@dataclass(frozen=True, slots=True)
class MapJob:
    """All that is decided before the first pixel is mapped.

    Attributes:
        notes: for the receipt: what a rule wanted and the machine or the scene forbade.
    """

    model: TrainedModel
    match: SceneMatch
    plan: WindowPlan
    layout: Layout
    device: Device
    recipe: Recipe
    options: MapOptions
    notes: tuple[str, ...] = ()

    @property
    def scene(self) -> Scene:
        return self.match.scene

    @property
    def classes(self) -> int:
        return len(self.model.classes)


class Sink(Protocol):
    """Where finished pieces go."""

    done: dict[int, SeamSums]

    def write(self, piece: MapPiece) -> None: ...

    def finish(self, block: Block, seams: SeamSums) -> None: ...


def prepare(model: TrainedModel, scene: Scene, options: MapOptions) -> MapJob:
    """Match scene and model, and fix the plan, the recipe and the layout.

    Raises:
        GeofmError: the scene does not fit the model, or an option is out of range.
    """
    match = match_scene(model.contract, scene, accept=options.accept, need_crs=options.need_crs)
    size = model.segmenter.encoder.config.image_size
    patch = model.segmenter.encoder.config.patch_size
    overlap = usual_overlap(size, patch=patch) if options.overlap is None else options.overlap
    if not 0 <= overlap <= size // 2:
        raise ConfigError(
            f"an overlap of {overlap} px does not suit windows of {size} px; "
            f"choose 0 to {size // 2}"
        )
    plan = WindowPlan(*scene.shape, size=size, overlap=overlap)
    device, coarse = choose_device(options.precision, options.device), ""
    if options.precision == "auto" and device.precision == "bf16":
        device, coarse = within_bound(model, match.scene, plan, device)
    batch = batch_size(model, device, plan)
    layout = plan_layout(
        plan,
        classes=len(model.classes),
        input_bytes=input_bytes(match.scene),
        source_rows=source_rows(match.scene, size - overlap),
        batch=batch,
        memory=options.memory,
    )
    compiled, eager = _compiled(model, plan, device, batch)
    recipe = make_recipe(model, match, plan, device, batch, compiled=compiled)
    notes = tuple(note for note in (coarse, eager) if note)
    return MapJob(model, match, plan, layout, device, recipe, options, notes)


def _compiled(
    model: TrainedModel, plan: WindowPlan, device: Device, batch: int
) -> tuple[bool, str | None]:
    """Whether the forward pass is compiled; why not, where it should be."""
    kind, bf16 = torch.device(device.name).type, device.precision == "bf16"
    if not compiling_pays(model.segmenter, plan, kind=kind, bf16=bf16):
        return False, None
    segmenter = model.segmenter.to(device.name).eval()
    eager = why_not_compiled(segmenter, input_shape(model, batch), kind, bf16=bf16)
    return eager is None, eager


def inference_of(job: MapJob) -> Inference:
    """The forward pass as the job's recipe says."""
    return Inference(
        job.model, job.scene, job.device, batch=job.recipe.batch, compiled=job.recipe.compiled
    )


def input_bytes(scene: Scene) -> int:
    """Bytes of one pixel that is held: every band and date, with validity and codes."""
    return len(scene.dates) * (len(scene.bands) * scene.dtype.itemsize + 2) + 1


def run(
    job: MapJob,
    sink: Sink,
    *,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Compute every block that the sink does not have yet.

    Raises:
        Stopped: ``stopped`` turned true; the block in work was finished first.
    """
    keep_freed_memory()
    inference = inference_of(job)
    strips = job.layout.strips(job.plan)
    total = sum(len(blocks) for blocks in strips)
    with (
        source_cache(),
        ThreadPoolExecutor(READERS, "geofm-read") as readers,
        ThreadPoolExecutor(1, "geofm-write") as writer,
    ):
        for blocks in strips:
            for stretch in _unfinished(blocks, sink.done):
                for block, results in _map_stretch(job, stretch, inference, readers):
                    _hand_over(block, results, sink, writer)
                    if progress:
                        progress(len(sink.done) / total, f"{len(sink.done)} of {total} blocks")
                    if stopped() and len(sink.done) < total:
                        raise Stopped(
                            f"stopped after {len(sink.done)} of {total} blocks; go on with --resume"
                        )


def _hand_over(
    block: Block, results: Iterator[MapPiece], sink: Sink, writer: ThreadPoolExecutor
) -> None:
    """Write each piece while the next is computed; the block counts once all are written."""
    seams = SeamSums()
    writing = None
    for piece in results:
        if writing:
            writing.result()
        writing = writer.submit(sink.write, piece)
        seams += piece.seams
    if writing:
        writing.result()
    sink.finish(block, seams)


def _unfinished(blocks: Sequence[Block], done: Mapping[int, SeamSums]) -> Iterator[list[Block]]:
    """Stretches of consecutive blocks that are not done."""
    stretch: list[Block] = []
    for block in blocks:
        if block.index not in done:
            stretch.append(block)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _map_stretch(
    job: MapJob, blocks: Sequence[Block], inference: Inference, readers: ThreadPoolExecutor
) -> Iterator[tuple[Block, Iterator[MapPiece]]]:
    """Walk down a strip; the sums of unfinished rows go from each block to the next.

    Pixels of one row above and one column before a block are computed too: the seam
    score compares neighbours. The first block of a stretch adds the window rows above
    it that reach into it once more.
    """
    plan = job.plan
    areas = [_with_border(block.area) for block in blocks]
    window_rows = [range(*block.window_rows) for block in blocks]
    window_rows[0] = range(
        plan.rows_over(areas[0].row, areas[0].stop_row).start, window_rows[0].stop
    )
    window_cols = plan.cols_over(areas[0].col, areas[0].stop_col)
    first_col = plan.cols[window_cols.start]
    width = plan.cols[window_cols.stop - 1] + plan.size - first_col
    needs = [
        Window(top, first_col, plan.rows[rows.stop - 1] + plan.size - top, width)
        for top, rows in (
            (min(plan.rows[rows.start], area.row), rows)
            for area, rows in zip(areas, window_rows, strict=True)
        )
    ]
    buffer: BlendBuffer | None = None
    arriving = read_rows(
        job.scene, needs, min_valid_dates=job.model.contract.min_valid_dates, readers=readers
    )
    for block, area, indexes, rows in zip(blocks, areas, window_rows, arriving, strict=True):
        reach = min(rows.area.stop_row, plan.height) - area.row
        held = Window(area.row, area.col, reach, area.width)
        if buffer is None:
            buffer = BlendBuffer(plan, held, job.classes, inference.device)
        else:
            buffer.move_down(held)
        windows = [
            Window(plan.rows[i], plan.cols[j], plan.size, plan.size)
            for i in indexes
            for j in window_cols
        ]
        for window, logits in _infer(windows, rows, inference):
            buffer.add(window, logits)
        yield block, _finish(job, block, buffer, rows)


def _infer(
    windows: Sequence[Window], rows: Rows, inference: Inference
) -> Iterator[tuple[Window, Tensor]]:
    """The logits of every window with a pixel to map, in plan order."""
    wanted = [w for w in windows if (_cut(rows, rows.codes, w) == 0).any()]
    for first in range(0, len(wanted), inference.batch):
        batch = wanted[first : first + inference.batch]
        dn = np.stack([_cut(rows, rows.dn, w) for w in batch])
        valid = np.stack([_cut(rows, rows.valid, w) for w in batch])
        yield from zip(batch, inference.logits(dn, valid), strict=True)


def _finish(job: MapJob, block: Block, buffer: BlendBuffer, rows: Rows) -> Iterator[MapPiece]:
    for owned in pieces(block.area, job.classes):
        area = _with_border(owned)
        yield finish_piece(
            buffer,
            _cut(rows, rows.codes, area),
            plan=job.plan,
            area=area,
            owned=owned,
            calibration=job.model.calibration or Calibration(),
            keep_probabilities=job.options.probabilities,
            keep_logits=job.options.logits,
        )


def _with_border(area: Window) -> Window:
    """The area with one row above and one column before it, where the grid has them."""
    row, col = max(area.row - 1, 0), max(area.col - 1, 0)
    return Window(row, col, area.stop_row - row, area.stop_col - col)


def _cut(rows: Rows, values: npt.NDArray[D], area: Window) -> npt.NDArray[D]:
    """The part of ``values`` (..., height, width) over ``rows`` that lies in ``area``."""
    row, col = area.row - rows.area.row, area.col - rows.area.col
    return values[..., row : row + area.height, col : col + area.width]
