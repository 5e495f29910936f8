"""Folders of images and labels -> pairs, by file name."""

import re
from collections.abc import Sequence
from pathlib import Path

from geofm.errors import LabelError
from geofm.pairing.files import Found, PairFiles, some
from geofm.scenes.arrayfiles import is_array_file
from geofm.scenes.discover import product_of
from geofm.scenes.labels import is_vector

RASTERS = {".tif", ".tiff", ".vrt", ".jp2"}
_LABELS = RASTERS | {".png"}
# What people append to tell an image from its labels: chip_7_image, chip_7_label.
_LABEL_ROLE = r"(labels?|labelhand|masks?|target|truth|gt)"
_ROLES = re.compile(rf"[ ._-]*(image|img|merged|scene|s2hand|{_LABEL_ROLE})$")
_IS_LABEL = re.compile(rf"(^|[ ._-]){_LABEL_ROLE}$")


def find_in_folders(images: str | Path | Sequence[str | Path], labels: str | Path) -> Found:
    """Pair images with labels of the same name, or with one file of polygons or points.

    Endings such as ``_image`` and ``_label`` are overlooked. The two may lie in one
    folder where the labels' endings tell them. Hidden files are no files of anybody's.

    Args:
        images: a folder of rasters, products, NetCDF files or Zarr stores; or one
            or more of these.
        labels: a folder of rasters, or of polygons or points for each image; or one
            such file for all images.

    Raises:
        LabelError: a folder is absent or empty, or no image has labels.
    """
    target = Path(labels)
    sources = _sources(images)
    if not target.is_dir():
        _check_one_raster(target, sources)
        pairs = [_pair(name, paths, str(target)) for name, paths in sources]
        return Found(tuple(pairs), shared_labels=True)
    if isinstance(images, str | Path) and Path(images).is_dir() and target.samefile(images):
        sources = [(name, paths) for name, paths in sources if not _IS_LABEL.search(name.lower())]
        files = [path for path in _label_files(target) if _IS_LABEL.search(path.stem.lower())]
        if not files or not sources:
            raise LabelError(
                f"{target} is the folder of both images and labels, and their names do not tell "
                "them apart; needed endings such as chip_7_image.tif and chip_7_label.tif; or give "
                "each a folder"
            )
    else:
        files = _label_files(target)
    return _by_name(sources, files)


def _pair(name: str, paths: tuple[str, ...], labels: str) -> PairFiles:
    return PairFiles(name=name, images=paths, labels=labels)


def _check_one_raster(labels: Path, sources: list[tuple[str, tuple[str, ...]]]) -> None:
    if not labels.exists():
        raise LabelError(f"there is no folder or file {labels} of labels; check the path")
    if len(sources) > 1 and not is_vector(labels):
        raise LabelError(
            f"{labels} is one raster, and there are {len(sources)} images; needed a folder with "
            "one raster an image, or a file of polygons or points for all"
        )


def _sources(images: str | Path | Sequence[str | Path]) -> list[tuple[str, tuple[str, ...]]]:
    """Name and paths of each scene."""
    given = [images] if isinstance(images, str | Path) else list(images)
    if len(given) > 1:
        return [(_name(str(path)), (str(path),)) for path in given]
    folder = Path(given[0]) if given else Path()
    if not given or not folder.exists():
        raise LabelError(f"there is no folder {folder} of images; check the path")
    if not folder.is_dir() or _is_scene(folder):
        return [(_name(str(folder)), (str(folder),))]
    found: dict[str, list[str]] = {}
    for path in _visible(folder):
        product = None if path.is_dir() else product_of(str(path))
        if product or _is_scene(path):
            # The files of one granule are one scene; a folder names itself.
            name = Path(product).name if product and path.suffix != ".zip" else _name(str(path))
            found.setdefault(name, []).append(str(path))
    if not found:
        kinds = ", ".join(sorted(RASTERS))
        raise LabelError(
            f"the folder {folder} of images holds no raster ({kinds}) and no product; name another"
        )
    return [(name, tuple(paths)) for name, paths in found.items()]


def _is_scene(path: Path) -> bool:
    if is_array_file(str(path)):
        return True
    if not path.is_dir():
        return path.suffix.lower() in RASTERS
    if product_of(str(path)):
        return True
    # A granule or a Landsat product in a folder of its own.
    inside = {product_of(str(part)) for part in _visible(path) if part.is_file()}
    return len(inside - {None}) == 1


def _name(path: str) -> str:
    name = Path(path).name
    suffixes = RASTERS | {".safe", ".zip", ".nc", ".zarr"}
    return Path(name).stem if Path(name).suffix.lower() in suffixes else name


def _visible(folder: Path) -> list[Path]:
    # "._chip.tif" is what macOS leaves in archives beside chip.tif.
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _label_files(folder: Path) -> list[Path]:
    files = [path for path in _visible(folder) if path.suffix.lower() in _LABELS or is_vector(path)]
    if not files:
        kinds = ", ".join(sorted(_LABELS))
        raise LabelError(
            f"the folder {folder} of labels holds no raster ({kinds}) and no polygons; name another"
        )
    return files


def _by_name(sources: list[tuple[str, tuple[str, ...]]], labels: list[Path]) -> Found:
    by_name: dict[str, Path] = {}
    for label in labels:
        twin = by_name.setdefault(_plain(label.stem), label)
        if twin is not label:
            raise LabelError(
                f"{twin.name} and {label.name} are labels of one name; keep one of them"
            )
    pairs = [
        _pair(name, paths, str(by_name[_plain(name)]))
        for name, paths in sources
        if _plain(name) in by_name
    ]
    if not pairs:
        raise LabelError(
            f"no image has labels of its name: there are {sources[0][0]}, ... and "
            f"{labels[0].name}, ...; give both the same names"
        )
    paired = {_plain(pair.name) for pair in pairs}
    bare = [name for name, _ in sources if _plain(name) not in paired]
    orphans = [path.name for path in labels if _plain(path.stem) not in paired]
    left_out = []
    if bare:
        left_out.append(f"{len(bare)} of {len(sources)} images have no labels: {some(bare)}")
    if orphans:
        left_out.append(f"{len(orphans)} of {len(labels)} labels have no image: {some(orphans)}")
    return Found(tuple(pairs), left_out=tuple(left_out))


def _plain(name: str) -> str:
    return _ROLES.sub("", name.lower())
