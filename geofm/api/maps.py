"""Maps as files: made, forecast, made again."""

from collections.abc import Mapping
from pathlib import Path

from geofm.api.models import Model
from geofm.predict import again as predict_again
from geofm.predict import estimate
from geofm.predict.again import Again
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.estimate import Estimate
from geofm.predict.infer import Precision
from geofm.predict.mapping import MapReport, map_to_file
from geofm.scenes.reader import Scene


def map_scene(
    model: Model,
    scene: Scene,
    output: str | Path,
    *,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    polygons: str | Path | None = None,
    min_area: float = 0.0,
    simplify: float = 0.0,
    html: str | Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> MapReport:
    """Map a scene of any size into a Cloud-Optimized GeoTIFF, in bounded memory.

    Beside ``OUT.tif`` stand ``OUT_confidence.tif``, ``OUT_probabilities.tif`` if asked,
    and ``OUT.json``, a STAC item with the receipt. They appear whole, or not at all.

    Args:
        output: ends in ``.tif``.
        memory: ceiling over the model itself, bytes.
        resume: go on where a stopped run of the same map ended; the bytes are the same.
        overwrite: replace a map that exists.
        polygons: GeoPackage (``.gpkg``) or GeoParquet (``.parquet``) for the areas of each
            class: ``class``, ``class_name``, ``hectares`` on the ellipsoid and mean
            ``confidence``, percent.
        min_area: leave out polygons below, hectares.
        simplify: leave out corners of polygons whose triangle is smaller than this length
            squared, metres; borders stay shared, and all outlines are in memory.
        html: a page with the scene under its map, to pan and zoom, offline, as
            `geofm.plot.slippy`.
        command: what the user typed, for the receipt.
        probabilities, accept, precision, device, progress: as `Model.map`.

    Raises:
        BandError, UnitsError, GridError, SceneError: the scene does not fit the model.
        OutputError: the output exists, or cannot be written.
        Stopped: SIGTERM came; ``resume`` goes on.
    """
    options = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
        resume=resume,
        overwrite=overwrite,
        polygons=None if polygons is None else Path(polygons),
        min_area=min_area,
        simplify=simplify,
        html=None if html is None else Path(html),
    )
    return map_to_file(
        model.trained, scene, output, options=options, command=command, progress=progress
    )


def estimate_map(
    model: Model,
    scene: Scene,
    *,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
) -> Estimate:
    """Forecast what `map_scene` will take: seconds, memory and disk.

    A probe of up to some 20 s reads, maps and writes a little of the scene; nothing is left on
    the disk.

    Args:
        probabilities, accept, memory, precision, device: as `map_scene`.

    Raises:
        BandError, UnitsError, GridError, SceneError: the scene does not fit the model.
    """
    options = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
    )
    return estimate.estimate_map(model.trained, scene, options)


def map_again(
    map: str | Path,  # noqa: A002  it is one
    output: str | Path,
    model: Model,
    scene: Scene,
    *,
    memory: int = 2 * 2**30,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Again:
    """Make a map again as its receipt says, and hold the files against the first ones.

    Bands that were accepted, quality classes, precision, device and threads are the receipt's.

    Args:
        map: with its receipt (``OUT.json``) beside it.
        output: ends in ``.tif``.
        model, scene: those of the receipt.
        memory, overwrite, command, progress: as `map_scene`.

    Returns:
        Whether the bytes are the same (``.same``), and what has changed if not; ``print``
        shows both.

    Raises:
        SceneError: there is no receipt.
        BandError, UnitsError, GridError, OutputError: as `map_scene`.
    """
    return predict_again.map_again(
        map,
        output,
        model.trained,
        scene,
        memory=memory,
        overwrite=overwrite,
        command=command,
        progress=progress,
    )
