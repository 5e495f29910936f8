"""A batch from end to end: a folder held, workers started, scenes mapped, an index written."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from geofm.errors import ConfigError, OutputError, SceneError
from geofm.export.collection import FolderIndex, read_items, write_index
from geofm.model.folder import TrainedModel, save_model
from geofm.page import Page
from geofm.predict.batch import (
    BatchTally,
    check_other_models,
    hold_folder,
    name_maps,
    run_batch,
)
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.ledger import RunLine, now
from geofm.predict.pages import batch_rows, workers_text
from geofm.predict.scratch import disk_errors
from geofm.predict.task import STATE, Job, SceneTask
from geofm.predict.workers import InProcess, Workers, local_workers
from geofm.scenes.entries import Entry
from geofm.scenes.handles import is_remote


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch runs; nothing of it but ``threads`` changes a byte of a map.

    Attributes:
        workers: processes; 0 maps in this one. A Dask cluster that stands already has its own.
        threads: of torch in each worker on a CPU, part of the recipe.
        scheduler: of Dask, such as ``"tcp://host:8786"``; ``"local"`` starts one here with
            ``workers`` processes; None maps with plain processes of this machine.
        tries: of a scene that fails, in all.
    """

    workers: int = 1
    threads: int = 1
    scheduler: str | None = None
    tries: int = 3

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("threads", 1), ("tries", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; needed {least} or more")
        if self.scheduler == "local" and not self.workers:
            raise ConfigError("a local Dask cluster has 0 workers; needed 1 or more")


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a batch did.

    Attributes:
        folder: of the maps.
        tally: scenes mapped, kept and set aside, with the time and the ground they took.
        index: the STAC collection and the VRTs over all maps of the folder by this model;
            None where there is no map yet.
        options: how it ran.
        gpus: of this machine, one worker each; 0 on a CPU.
    """

    folder: Path
    tally: BatchTally
    index: FolderIndex | None
    options: BatchOptions
    gpus: int

    @property
    def complete(self) -> bool:
        """Whether every scene has its map."""
        return not (self.tally.failed or self.tally.waiting or self.tally.ended_early)

    def __str__(self) -> str:
        return str(Page("batch", str(self.folder), tuple(batch_rows(self))))

    __repr__ = __str__


def map_many(
    model: TrainedModel,
    entries: Sequence[Entry],
    folder: Path,
    *,
    model_folder: Path | None,
    maps: MapOptions,
    options: BatchOptions,
    reading: Mapping[str, Any],
    command: str = "",
    progress: Progress | None = None,
) -> BatchReport:
    """Map scenes into a folder; see `geofm.api.map_batch`.

    Args:
        model_folder: that the workers load; None saves the model beside the maps meanwhile.
        reading: arguments of `open_scene` for all scenes.
    """
    folder = folder.absolute()
    entries = scenes_to_map(entries, folder)
    names = name_maps(entries)
    gpus = gpus_of(maps.device)
    if gpus and options.workers and options.scheduler is None:
        maps = replace(maps, device="cuda")  # each worker process sees one GPU alone
    with hold_folder(folder) as mark:
        kept = model_folder.absolute() if model_folder else folder / STATE / "model.geofm"
        if model_folder is None:
            model = save_model(model, kept, overwrite=True)
        job = Job(
            model=kept,
            model_sha256=model.sha256 or "",
            folder=folder,
            mark=mark,
            options=replace(maps, resume=True),
            threads=options.threads,
            reading=reading,
            command=command,
        )
        tasks = [SceneTask(job, name, entry) for name, entry in zip(names, entries, strict=True)]
        check_other_models(tasks)
        run = RunLine(
            began=now(),
            command=command,
            model=model.name,
            model_sha256=job.model_sha256,
            workers=workers_text(options, len(gpus)),
        )
        with _workers(options, gpus, folder / STATE) as workers:
            tally = run_batch(tasks, workers, run=run, tries=options.tries, progress=progress)
        if progress:
            progress(1.0, "listing the maps")
        tally, index = _indexed(tally, folder, model)
        _clear(folder / STATE)
    return BatchReport(folder, tally, index, options, len(gpus))


def scenes_to_map(entries: Sequence[Entry], folder: Path) -> list[Entry]:
    """The entries with paths that hold in every working folder; maps in ``folder`` are none.

    Raises:
        SceneError: not one of them is there.
    """
    absolute = folder.absolute()
    found = [entry for entry in map(_absolute, entries) if not _lies_in(entry, absolute)]
    if found and not any(map(_is_there, found)):
        many = f"and none of {len(found)} scenes" if len(found) > 1 else "no scene"
        raise SceneError(
            f"{found[0].name} is not there, {many}; needed a folder, a list, a catalogue or a STAC "
            "collection of scenes; check the path"
        )
    return found


def _is_there(entry: Entry) -> bool:
    """Whether a scene may be opened; what is not a local file is not asked for."""
    path = entry.paths[0]
    return is_remote(path) or path.startswith("/vsi") or Path(path).exists()


def _absolute(entry: Entry) -> Entry:
    said = dict(entry.said)
    if "quality" in said:
        said["quality"] = [_path(one) for one in said["quality"]]
    return replace(entry, paths=tuple(map(_path, entry.paths)), said=said)


def _path(path: str) -> str:
    return path if is_remote(path) else str(Path(path).absolute())


def _lies_in(entry: Entry, folder: Path) -> bool:
    return entry.item is None and Path(entry.paths[0]).is_relative_to(folder)


def gpus_of(device: str | None) -> list[str]:
    """The GPUs to use, as CUDA names them to processes; none on a CPU."""
    if not torch.cuda.is_available():
        return []
    said = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = said.split(",") if said else [str(n) for n in range(torch.cuda.device_count())]
    return _named(device, visible)


def _named(device: str | None, visible: Sequence[str]) -> list[str]:
    """Those of the visible GPUs that a device of torch names.

    >>> _named(None, "25"), _named("cuda:1", "25"), _named("cpu", "25")
    (['2', '5'], ['5'], [])
    """
    kind, _, number = (device or "cuda").partition(":")
    if kind != "cuda":
        return []
    return [gpu for at, gpu in enumerate(visible) if number in ("", str(at))]


@contextmanager
def _workers(options: BatchOptions, gpus: Sequence[str], state: Path) -> Iterator[Workers]:
    if options.scheduler is None and not options.workers:
        yield InProcess()
        return
    if options.scheduler is None:
        with local_workers(
            options.workers, threads=options.threads, gpus=gpus, logs=state
        ) as workers:
            yield workers
        return
    if options.scheduler == "local" and len(gpus) > 1:
        raise ConfigError(
            f"a local Dask cluster would put all workers on one of {len(gpus)} GPUs; "
            "leave --scheduler out, and there is one worker a GPU"
        )
    from geofm.predict.cluster import cluster_workers  # Dask is an extra

    with cluster_workers(options.scheduler, count=options.workers) as workers:
        yield workers


def _indexed(
    tally: BatchTally, folder: Path, model: TrainedModel
) -> tuple[BatchTally, FolderIndex | None]:
    """Write the index of what stands in the folder; a full disk costs the index alone."""
    items = list(read_items(folder, sha256=model.sha256 or ""))
    if not items:
        return tally, None
    licences = model.provenance.get("licences") or ()
    try:
        with disk_errors(folder):
            index = write_index(
                folder,
                items,
                classes=model.classes,
                description=f"Maps of {model.task} by {model.name}, with geofm",
                licences=licences,
            )
    except OutputError as error:
        return replace(tally, ended_early=tally.ended_early or str(error)), None
    return tally, index


def _clear(state: Path) -> None:
    """Leave nothing but the lock, which another run may be about to take."""
    for path in state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()
