"""Folders of images and labels -> scenes with labels, by file name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geofm.errors import LabelError
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene

RASTERS = {".tif", ".tiff", ".vrt", ".jp2"}
# What people append to tell an image from its labels: chip_7_image, chip_7_label.
_ROLES = re.compile(
    r"[ ._-]*(image|img|merged|scene|s2hand|labels?|labelhand|masks?|target|truth|gt)$"
)


def open_pairs(
    images: str | Path,
    labels: str | Path,
    *,
    codes: Mapping[int | str, int] | None = None,
    column: str | None = None,
    **reading: Any,
) -> list[Pair]:
    """Open the scenes of a folder with their labels.

    A label raster belongs to the image of the same name; endings such as
    ``_image`` and ``_label`` are overlooked. Polygons are drawn on every image
    that they touch.

    Args:
        images: folder of rasters.
        labels: folder of label rasters, or a file of polygons.
        codes: stored label -> class code; others are left out. None takes
            labels as class codes.
        column: of the polygons' labels.
        reading: as `open_scene`.

    Raises:
        SceneError, BandError, UnitsError: an image cannot be read as a scene.
        LabelError: no image has labels, or they cannot be read.
    """
    scenes = _rasters(Path(images), "images")
    folder = Path(labels).is_dir()
    named = (
        _by_name(scenes, _rasters(Path(labels), "labels"))
        if folder
        else [(image, Path(labels)) for image in scenes]
    )
    pairs, refusals = [], []
    for image, label in named:
        scene = open_scene(image, **reading)
        try:
            target = open_labels(label, scene.geobox, classes=codes, column=column)
        except LabelError as error:
            # One file of polygons for all images need not touch each of them.
            if folder:
                raise
            refusals.append(error)
        else:
            pairs.append(Pair(scene=scene, labels=target, name=image.stem))
    if not pairs:
        # A wrong column or class says more than an image beside the polygons.
        raise min(refusals, key=lambda error: "no polygon on" in str(error))
    return pairs


def _rasters(folder: Path, what: str) -> list[Path]:
    if not folder.is_dir():
        raise LabelError(f"there is no folder {folder} of {what}; check the path")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in RASTERS)
    if not files:
        kinds = ", ".join(sorted(RASTERS))
        raise LabelError(f"the folder {folder} of {what} holds no raster ({kinds}); name another")
    return files


def _by_name(images: list[Path], labels: list[Path]) -> list[tuple[Path, Path]]:
    by_name: dict[str, Path] = {}
    for label in labels:
        twin = by_name.setdefault(_plain_name(label), label)
        if twin is not label:
            raise LabelError(
                f"{twin.name} and {label.name} are labels of one name; keep one of them"
            )
    found = [(image, by_name[name]) for image in images if (name := _plain_name(image)) in by_name]
    if not found:
        raise LabelError(
            f"no image has labels of its name: there are {images[0].name}, ... and "
            f"{labels[0].name}, ...; give both the same names"
        )
    return found


def _plain_name(path: Path) -> str:
    return _ROLES.sub("", path.stem.lower())
