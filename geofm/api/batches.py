"""Maps of many scenes: made, and forecast."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geofm.api.models import Model, load_model
from geofm.model.folder import TrainedModel
from geofm.pairing.scenes import find_entries
from geofm.predict import forecast
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.forecast import BatchEstimate
from geofm.predict.infer import Precision
from geofm.predict.many import BatchOptions, BatchReport, gpus_of, map_many, scenes_to_map
from geofm.predict.workers import worker_count
from geofm.scenes.entries import Entry


def map_batch(
    model: Model | str | Path,
    manifest: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int = 1,
    scheduler: str | None = None,
    tries: int = 3,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    overwrite: bool = False,
    reading: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> BatchReport:
    """Map many scenes into a folder; the same call again goes on where it ended.

    Each map is named for its scene, with the bytes that `map_scene` writes with so many
    threads. A map that stands there whole, of this model and recipe, is kept; an unfinished
    one is taken up. What cannot be mapped is tried again, then set aside with its reason.
    Beside the maps: ``collection.json`` (STAC), ``classes.vrt`` and ``confidence.vrt`` over
    all of them, and ``ledger.sqlite``, which tells how each scene went.

    Args:
        model: or its folder.
        manifest: as `open_scenes` takes it; of a STAC collection or catalogue each item is a
            scene. Files in ``output`` are none.
        output: folder of the maps, made if it is not there.
        workers: processes; 0 maps in this one. By default one a GPU, else by cores and memory.
        threads: of torch in each worker on a CPU; part of the recipe.
        scheduler: of a Dask cluster, such as ``"tcp://host:8786"``, whose workers share the
            disk; ``"local"`` starts one on this machine.
        tries: of a scene that fails, in all.
        overwrite: make maps again that another model or recipe made, or whose scene has
            changed; else those scenes are set aside.
        reading: arguments of `open_scene` for all scenes.
        memory: ceiling of each worker over the model itself, bytes.
        probabilities, accept, precision, device, command, progress: as `map_scene`.

    Raises:
        SceneError: the manifest cannot be read, names nothing, or two scenes alike.
        OutputError: the folder cannot be written, another batch is at it, or another model
            made its maps.
        ConfigError: Dask is not installed, or no scheduler answers.
        Stopped: SIGTERM came; the same call goes on.
    """
    folder = None if isinstance(model, Model) else Path(model)
    trained = model.trained if isinstance(model, Model) else load_model(model).trained
    maps = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
        overwrite=overwrite,
    )
    count = _workers(trained, maps) if workers is None else workers
    return map_many(
        trained,
        _entries(manifest),
        Path(output),
        model_folder=folder,
        maps=maps,
        options=BatchOptions(workers=count, threads=threads, scheduler=scheduler, tries=tries),
        reading=reading or {},
        command=command,
        progress=progress,
    )


def estimate_batch(
    model: Model,
    manifest: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int = 1,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    reading: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BatchEstimate:
    """Forecast what `map_batch` will take, by the forecasts of a few scenes drawn at random.

    Takes up to a minute; nothing is left on the disk.

    Args:
        model, manifest, output, workers, threads, probabilities, accept, memory, precision,
            device, reading, progress: as `map_batch`.

    Raises:
        SceneError: the manifest cannot be read or names nothing, or none of the scenes
            looked at can be mapped.
    """
    maps = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
    )
    count = _workers(model.trained, maps) if workers is None else workers
    return forecast.estimate_batch(
        model.trained,
        scenes_to_map(_entries(manifest), Path(output)),
        maps=maps,
        options=BatchOptions(workers=count, threads=threads),
        reading=reading or {},
        progress=progress,
    )


def _entries(manifest: str | Path | Sequence[str | Path]) -> list[Entry]:
    """The scenes of a manifest, items of a STAC collection apart."""
    sources = [manifest] if isinstance(manifest, str | Path) else manifest
    return list(find_entries(sources, items_apart=True))


def _workers(model: TrainedModel, maps: MapOptions) -> int:
    """Workers that this machine carries, by rule."""
    from geofm.doctor import available_cores, memory_limit, physical_memory

    total = physical_memory()
    weights = sum(one.numel() * one.element_size() for one in model.segmenter.parameters())
    return worker_count(
        cores=available_cores(),
        memory=min(total, memory_limit() or total),
        gpus=len(gpus_of(maps.device)),
        ceiling=maps.memory,
        weights=weights,
    )
