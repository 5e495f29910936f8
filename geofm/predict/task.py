"""The work of a batch, one scene at a time: the same in a process, a pool and a cluster.

A task may run any number of times, on any worker, after any death of another: the map
appears whole or not at all, unfinished blocks are taken up, and a finished map is kept.
"""

import os
import platform
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from geofm.errors import (
    BandError,
    BusyError,
    ConfigError,
    DiskFullError,
    GeofmError,
    GridError,
    ModelError,
    OutputError,
    Stopped,
    UnitsError,
    ran_out_of_memory,
)
from geofm.model.folder import TrainedModel, load_model_folder
from geofm.predict.engine import MapOptions, Progress, prepare
from geofm.predict.finished import look_at
from geofm.predict.mapping import check_map, write_map
from geofm.predict.threads import threads
from geofm.scenes.entries import Entry, open_entry

STATE = ".geofm-batch"
"""Folder beside the maps for what a batch needs while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all scenes of a batch share; plain values, which travel to other processes.

    Attributes:
        model: its folder.
        model_sha256: of its weights; a folder that changes meanwhile is refused.
        folder: where the maps go.
        mark: what the driver wrote to `mark_of` that folder: a worker that does not find it
            sees another disk.
        options: of every map; ``resume`` is always on, and ``overwrite`` replaces maps
            of another recipe only.
        threads: of torch, on a CPU; part of the recipe.
        reading: arguments of `open_scene` for all scenes.
        command: what the user typed, for the receipts.
    """

    model: Path
    model_sha256: str
    folder: Path
    mark: str
    options: MapOptions
    threads: int
    reading: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True, slots=True)
class SceneTask:
    """One scene of a batch.

    Attributes:
        name: of its map, without the ending.
    """

    job: Job
    name: str
    entry: Entry

    @property
    def out(self) -> Path:
        return self.job.folder / f"{self.name}.tif"


@dataclass(frozen=True, slots=True)
class SceneDone:
    """A scene whose map stands whole.

    Attributes:
        kept: the map stood there before.
        pixels: of the grid.
        square_km: of the grid, on the ground.
        seconds: of this try.
    """

    name: str
    kept: bool
    pixels: int
    square_km: float
    seconds: float


Reason = Literal["wrong", "failed", "busy", "full", "stopped", "died", "unfit"]


@dataclass(frozen=True, slots=True)
class SceneFailure:
    """A try that brought no map.

    Attributes:
        reason: ``"wrong"`` will be so again: bands, units, grid, or a map that may not be
            replaced; ``"failed"`` may pass; ``"busy"``: another run holds this output;
            ``"full"``: the disk is; ``"stopped"``: told to stop; ``"died"``: the worker
            did; ``"unfit"``: this worker can map nothing.
        text: one sentence.
    """

    name: str
    reason: Reason
    text: str
    seconds: float = 0.0


Ended = SceneDone | SceneFailure
_ALONE = threading.Lock()
"""A worker of several threads maps one scene at a time: memory and threads are planned so."""


def run_task(task: SceneTask, progress: Progress | None = None) -> Ended:
    """Map one scene into the batch's folder; errors come back as values."""
    started = time.monotonic()
    with _ALONE:
        try:
            with threads(task.job.threads):  # in a process of its own, or the caller's
                return _run(task, progress, started)
        except Exception as error:
            reason, text = _judge(error)
            return SceneFailure(task.name, reason, text, time.monotonic() - started)


def mark_of(folder: Path) -> Path:
    """The file by which a worker knows the folder of its batch."""
    return folder / STATE / "mark"


def _run(task: SceneTask, progress: Progress | None, started: float) -> Ended:
    job = task.job
    try:
        _check_folder(job)
        model = _load(job.model, job.model_sha256)
    except GeofmError as error:
        return SceneFailure(task.name, "unfit", f"{platform.node()}: {error}")
    scene = open_entry(task.entry, job.reading)
    prepared = prepare(model, scene, job.options)
    standing = look_at(prepared, task.out)
    if standing.kind != "finished":
        if standing.kind == "other" and not job.options.overwrite:
            text = (
                f"{task.out.name} exists, and {standing.difference}; choose another folder, or "
                "give --overwrite to make it again"
            )
            return SceneFailure(task.name, "wrong", text)
        # What stands there is nothing, a part of this map, or may be replaced.
        options = replace(job.options, resume=True, overwrite=True)
        check_map(scene, task.out, options)
        write_map(
            replace(prepared, options=options), task.out, command=job.command, progress=progress
        )
    pixels = scene.shape[0] * scene.shape[1]
    return SceneDone(
        name=task.name,
        kept=standing.kind == "finished",
        pixels=pixels,
        square_km=pixels * (scene.resolution or 0.0) ** 2 / 1e6,
        seconds=time.monotonic() - started,
    )


def _check_folder(job: Job) -> None:
    """Refuse a disk that is not the driver's: maps would be lost there.

    Raises:
        OutputError: the mark is not there.
    """
    try:
        found = mark_of(job.folder).read_text()
    except OSError:
        found = ""
    if found != job.mark:
        raise OutputError(
            f"this worker does not see the folder {job.folder} of the batch; needed a disk that "
            "all workers share, under the same path"
        )


@lru_cache(maxsize=1)
def _load(folder: Path, sha256: str) -> TrainedModel:
    """The model, once a process."""
    model = load_model_folder(folder)
    if model.sha256 != sha256:
        raise ModelError(f"{folder} has changed since the batch began; start the batch again")
    return model


def _judge(error: Exception) -> tuple[Reason, str]:
    """Why a try failed: whether another may do better, and one sentence."""
    wrong = (BandError, UnitsError, GridError, ModelError, ConfigError)
    reasons: dict[type[Exception] | tuple[type[Exception], ...], Reason] = {
        Stopped: "stopped",
        BusyError: "busy",
        DiskFullError: "full",
        wrong: "wrong",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason, _sentence(error)
    return "failed", _sentence(error)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    match error:
        case GeofmError():
            return text
        case _ if ran_out_of_memory(error):
            return "memory ran out; choose a smaller --memory, or fewer --workers"
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{os.strerror(error.errno or 0).lower()}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return f"geofm has a bug ({type(error).__name__} at {place}: {text[:200]})"
