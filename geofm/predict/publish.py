"""A finished scratch to the files that a user gets: whole, described, the map last."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from geofm.errors import OutputError
from geofm.export.geotiff import RawLayer, write_cog
from geofm.export.stac import map_item
from geofm.export.vector import check_polygons_output, write_polygons
from geofm.export.webmap import Read, check_page_output, web_page, write_web_page
from geofm.predict.engine import MapJob, MapOptions
from geofm.predict.scratch import Scratch, disk_errors, scratch_folder
from geofm.predict.stitch import PROBABILITY_STEPS, SeamSums


def output_files(out: Path) -> dict[str, Path]:
    """All that a map may consist of, by role, the map itself last.

    >>> [str(path) for path in output_files(Path("a/b.tif")).values()]
    ['a/b.json', 'a/b_confidence.tif', 'a/b_probabilities.tif', 'a/b.tif']
    """
    return {
        "item": out.with_suffix(".json"),
        "confidence": out.with_name(f"{out.stem}_confidence.tif"),
        "probabilities": out.with_name(f"{out.stem}_probabilities.tif"),
        "classes": out,
    }


def check_output(
    out: Path,
    *,
    inputs: Sequence[str],
    polygons: Path | None = None,
    simplify: float = 0.0,
    html: Path | None = None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse an output that cannot be made, before any work is done.

    An unfinished run may stand beside a map: it was begun to overwrite it, or was
    killed while it cleaned up.

    Args:
        inputs: paths and addresses that are read; no output takes the place of one.

    Raises:
        OutputError: no name of a GeoTIFF, a folder, a file that exists, or an input; the
            same of ``polygons`` and ``html``.
    """
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise OutputError(f"the output {out.name} is no GeoTIFF name; give one that ends in .tif")
    if out.is_dir():
        raise OutputError(f"the output {out} is a folder; give a file name in it, ending in .tif")
    begun = resume and scratch_folder(out).is_dir()
    if polygons is not None:
        check_polygons_output(polygons, overwrite=overwrite or begun, simplify=simplify)
    if html is not None:
        check_page_output(html, overwrite=overwrite or begun)
    for path in reversed(output_files(out).values()):
        if not path.exists():
            continue
        if any(Path(name).exists() and path.samefile(name) for name in inputs):
            raise OutputError(
                f"{path} is what the map is made from, and would be lost; choose another output"
            )
        if not overwrite and not begun:
            raise OutputError(
                f"{path} exists; choose another output, or give --overwrite to make it again"
            )


def map_layers(job: MapJob) -> list[RawLayer]:
    """The rasters of a map, the classes first."""
    names = tuple(c.name for c in job.model.classes)
    tags = {
        "GEOFM_VERSION": job.recipe.versions["geofm"],
        "GEOFM_MODEL": job.model.name,
        "GEOFM_RECIPE": job.recipe.digest,
    }
    layers = [
        RawLayer("classes", (job.model.task,), "MODE", classes=job.model.classes, tags=tags),
        RawLayer("confidence", ("confidence",), "AVERAGE", unit="percent", tags=tags),
    ]
    if job.options.probabilities:
        layers.append(
            RawLayer("probabilities", names, "AVERAGE", scale=1 / PROBABILITY_STEPS, tags=tags)
        )
    return layers


def map_roles(options: MapOptions) -> tuple[str, ...]:
    """The rasters of a map, by role, the classes first."""
    return ("classes", "confidence", *(["probabilities"] if options.probabilities else []))


def what_is_mapped(job: MapJob) -> dict[str, object]:
    """The part of a receipt that is known before the first pixel: model, scene and recipe."""
    scene = job.scene
    return {
        "model": {
            "name": job.model.name,
            "sha256": job.model.sha256,
            # So that a reference for the map's area can be told from the model's own labels.
            "training_footprint": job.model.provenance.get("training_footprint"),
        },
        "scene": {
            "id": scene.id,
            "paths": list(scene.paths),
            "level": scene.level,
            "scale": scene.scale.tolist(),
            "offset": scene.offset.tolist(),
        },
        "recipe": job.recipe.plain(),
        "recipe_sha256": job.recipe.digest,
        "notes": list(job.notes),
    }


def publish(
    job: MapJob, scratch: Scratch, out: Path, *, seams: SeamSums, command: str
) -> dict[str, Path]:
    """Build the files in the scratch folder, then move each into place, the map last."""
    scene, layers = job.scene, map_layers(job)
    places = output_files(out)
    files = {layer.name: places[layer.name] for layer in layers}
    receipt = {
        **what_is_mapped(job),
        "scene_files": {path: file_hash(path) for path in scene.paths},
        "seam_score": None if seams.score is None else round(seams.score, 4),
        "command": command,
    }
    item = map_item(
        out.stem,
        geobox=scene.geobox,
        footprint=scene.footprint,
        dates=scene.dates,
        classes=job.model.classes,
        files=files,
        receipt=receipt,
    )
    wanted = job.options.polygons
    with disk_errors(out), ExitStack() as stack:
        for layer in layers:
            built = scratch.folder / files[layer.name].name
            write_cog(scratch.raw(layer.name), layer, scene.geobox, built)
        (scratch.folder / places["item"].name).write_text(json.dumps(item, indent=2) + "\n")
        built_polygons = wanted and _build_polygons(job, scratch, wanted, out.stem)
        if built_polygons:
            stack.callback(built_polygons.unlink, missing_ok=True)
        page = job.options.html
        built_page = page and _build_page(job, scratch, page, out.stem)
        if built_page:
            stack.callback(built_page.unlink, missing_ok=True)
        if wanted and built_polygons:
            _move(built_polygons, wanted)
        if page and built_page:
            _move(built_page, page)
        for path in places.values():
            for name in (f"{path.name}.aux.xml", path.name):
                _move(scratch.folder / name, path.with_name(name))
        scratch.remove()
    more = {"polygons": wanted, "html": page}
    return {
        **files,
        **{role: path for role, path in more.items() if path},
        "item": places["item"],
    }


def file_hash(path: str) -> str | None:
    """SHA-256 of a local file that a map is made from; None for addresses and folders."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build_polygons(job: MapJob, scratch: Scratch, out: Path, layer: str) -> Path:
    """The map's polygons in a file beside ``out``, not yet in its place."""
    classes, confidence = _readers(job, scratch)
    return write_polygons(
        lambda window: (classes(window), confidence(window)),
        job.scene.geobox,
        job.model.classes,
        out,
        layer=layer,
        min_area=job.options.min_area,
        simplify=job.options.simplify,
    )


def _build_page(job: MapJob, scratch: Scratch, out: Path, title: str) -> Path:
    """The page of scene and map beside ``out``, not yet in its place."""
    classes = dict(enumerate(job.model.classes))
    page = web_page(job.scene, classes, *_readers(job, scratch), title=title)
    return write_web_page(page, out)


def _readers(job: MapJob, scratch: Scratch) -> tuple[Read, Read]:
    """Classes and confidence of a window, from the scratch."""

    def reader(name: str) -> Read:
        raw = np.memmap(scratch.raw(name), np.uint8, "r", shape=job.scene.shape)
        return lambda window: np.array(raw[window.slices])

    return reader("classes"), reader("confidence")


def _move(built: Path, final: Path) -> None:
    """Put a whole file in its place; an old companion that is not made again goes."""
    if not built.exists():
        final.unlink(missing_ok=True)
        return
    with built.open("rb") as file:
        os.fsync(file.fileno())
    built.replace(final)
