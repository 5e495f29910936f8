"""Files -> scenes with labels on their grid."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geofm.errors import ElsewhereError, GeofmError
from geofm.pairing.catalogue import read_catalogue
from geofm.pairing.files import Found, PairFiles, some
from geofm.pairing.folders import find_in_folders
from geofm.pairing.groups import with_groups
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.tasks import IGNORE

_AT_ONCE = 8

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Labelling:
    """How labels are read; attributes as the arguments of `open_labels`."""

    codes: Mapping[int | str, int] | None = None
    column: str | None = None
    background: int = IGNORE
    ignore_edges: int = 0


def open_pairs(
    images: str | Path | Sequence[str | Path],
    labels: str | Path,
    *,
    codes: Mapping[int | str, int] | None = None,
    column: str | None = None,
    background: int = IGNORE,
    ignore_edges: int = 0,
    groups: str | None = None,
    tell: Tell | None = None,
    **reading: Any,
) -> list[Pair]:
    """Open the scenes of a folder with their labels.

    Labels belong to the image of the same name; endings such as ``_image`` and
    ``_label`` are overlooked. One file of polygons or points is drawn on every
    image that it touches.

    Args:
        images: a folder of rasters or products; or one or more of these.
        labels: a folder of label rasters, or a file of polygons or points.
        codes: stored label -> class code; others are left out. None takes
            labels as class codes.
        column: of the polygons' or points' labels.
        background: class code outside all polygons; unlabelled by default.
        ignore_edges: labels so near to another class are left out, pixels.
        groups: what may not be split: ``FILE:COLUMN``, a table that names it.
        tell: is told what was left out; a warning by default.
        reading: as `open_scene`.

    Raises:
        SceneError, BandError, UnitsError: an image cannot be read as a scene.
        LabelError: no image has labels, or they cannot be read.
        SplitError: a pair has no group.
    """
    labelling = Labelling(codes, column, background, ignore_edges)
    found = find_in_folders(images, labels)
    return open_found(found, labelling, reading, groups=groups, tell=tell)


def open_catalog(
    path: str | Path,
    *,
    codes: Mapping[int | str, int] | None = None,
    column: str | None = None,
    background: int = IGNORE,
    ignore_edges: int = 0,
    groups: str | None = None,
    tell: Tell | None = None,
    **reading: Any,
) -> list[Pair]:
    """Open the pairs of a catalogue, a table (CSV or GeoParquet) with a row each.

    Its columns are ``image`` and ``label``, and if you like ``name``, ``date``,
    ``group``, ``split`` and facts such as ``region``; several images or dates of
    one scene stand between semicolons, and paths are relative to the table.

    Args:
        path: of the table.
        groups: as `open_pairs`, or one of the columns.
        codes, column, background, ignore_edges, tell, reading: as `open_pairs`.

    Raises:
        LabelError: the table lacks a column or a path, or as `open_pairs`.
        SceneError, BandError, UnitsError, SplitError: as `open_pairs`.
    """
    labelling = Labelling(codes, column, background, ignore_edges)
    return open_found(read_catalogue(path), labelling, reading, groups=groups, tell=tell)


def open_found(
    found: Found,
    labelling: Labelling,
    reading: Mapping[str, Any],
    *,
    groups: str | None = None,
    tell: Tell | None = None,
) -> list[Pair]:
    """Open what was found; the first pair that cannot be opened is refused.

    Raises:
        GeofmError: as `open_pairs`.
    """
    pairs: list[Pair] = []
    elsewhere: list[tuple[PairFiles, GeofmError]] = []
    for files, result in open_each(found, labelling, reading):
        if isinstance(result, Pair):
            pairs.append(result)
        elif found.shared_labels and isinstance(result, ElsewhereError):
            elsewhere.append((files, result))
        else:
            raise result
    if not pairs:
        raise elsewhere[0][1]
    told = list(found.left_out)
    if elsewhere:
        names = [files.name for files, _ in elsewhere]
        told.append(f"{len(names)} of {len(found.pairs)} images have no labels: {some(names)}")
    for sentence in told:
        (tell or _warn)(sentence)
    return with_groups(pairs, groups) if groups else pairs


@dataclass(frozen=True, slots=True)
class Opened:
    """Pairs that could be opened, and what could not.

    Attributes:
        failures: name and reason of each pair that could not.
        left_out: sentences on files that belong to no pair.
    """

    pairs: tuple[Pair, ...]
    failures: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def open_what_opens(
    found: Found, labelling: Labelling, reading: Mapping[str, Any], *, groups: str | None = None
) -> Opened:
    """Open what was found, and say what cannot be opened.

    Raises:
        SplitError, LabelError: ``groups`` names none.
    """
    pairs: list[Pair] = []
    failures: list[tuple[str, str]] = []
    elsewhere: list[str] = []
    for files, result in open_each(found, labelling, reading):
        if isinstance(result, Pair):
            pairs.append(result)
        elif found.shared_labels and isinstance(result, ElsewhereError) and len(found.pairs) > 1:
            elsewhere.append(files.name)
        else:
            failures.append((files.name, str(result)))
    left_out = list(found.left_out)
    if elsewhere:
        count = f"{len(elsewhere)} of {len(found.pairs)} images have no labels"
        left_out.append(f"{count}: {some(elsewhere)}")
    grouped = with_groups(pairs, groups) if groups and pairs else pairs
    return Opened(tuple(grouped), tuple(failures), tuple(left_out))


def open_each(
    found: Found, labelling: Labelling, reading: Mapping[str, Any]
) -> Iterator[tuple[PairFiles, Pair | GeofmError]]:
    """Each pair opened, or why it cannot be."""

    def attempt(files: PairFiles) -> Pair | GeofmError:
        try:
            return open_pair(files, labelling, reading)
        except GeofmError as error:
            return error

    # Thousands of headers and samples of pixels, on a disk that may be far away.
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            yield from zip(found.pairs, threads.map(attempt, found.pairs), strict=True)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def open_pair(files: PairFiles, labelling: Labelling, reading: Mapping[str, Any]) -> Pair:
    """The scene and the labels of one pair's files.

    Raises:
        GeofmError: as `open_scene` and `open_labels`.
    """
    source = files.images[0] if len(files.images) == 1 else list(files.images)
    dates = {} if files.dates is None else {"dates": files.dates}
    scene = open_scene(source, **{**reading, **dates})
    labels = open_labels(
        files.labels,
        scene.geobox,
        classes=labelling.codes,
        column=labelling.column,
        background=labelling.background,
        ignore_edges=labelling.ignore_edges,
    )
    return Pair(
        scene=scene,
        labels=labels,
        name=files.name,
        group=files.group,
        split=files.split,
        facts=files.facts,
    )


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)
