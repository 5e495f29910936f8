"""Many scenes at once: a folder, a list or a catalogue of them -> scenes, and what was left out.

What cannot be opened is left out by name, as long as it is a small share.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geofm.errors import GeofmError, LabelError, SceneError
from geofm.pairing.tables import read_rows
from geofm.scenes.arrayfiles import is_array_file
from geofm.scenes.discover import product_of
from geofm.scenes.entries import Entry, open_entry
from geofm.scenes.handles import is_remote, plain_name
from geofm.scenes.reader import Scene
from geofm.scenes.skipped import Skipped, check_skipped
from geofm.scenes.stac import is_catalogue, list_items

RASTERS = {".tif", ".tiff", ".vrt", ".jp2", ".nc", ".zarr"}
CATALOGUES = {".csv", ".parquet", ".geoparquet", ".pq"}
LISTS = {".txt", ".lst"}
_THREADS = min(os.cpu_count() or 1, 4)


@dataclass(frozen=True, slots=True)
class Opened:
    """What `open_scenes` found.

    Attributes:
        scenes: in the order of their names, or of the list.
        skipped: what could not be opened.
        licences: of the pixels, as far as a catalogue states them.
    """

    scenes: tuple[Scene, ...]
    skipped: tuple[Skipped, ...] = ()
    licences: tuple[str, ...] = ()


def open_scenes(
    source: str | Path | Sequence[str | Path],
    *,
    series: bool = False,
    most_skipped: float = 0.1,
    progress: Callable[[float], None] | None = None,
    **reading: Any,
) -> Opened:
    """Open many scenes.

    Args:
        source: one of these, or a list of them:
            a folder, searched with all folders in it: each raster and each product of an
            agency is a scene;
            a list (``.txt``): a path a line, from the list's own folder; the dates of one
            scene on one line with tabs between them;
            a catalogue (``.csv``, ``.parquet``): a row a scene, its file in the column ``path``;
            columns such as ``bands``, ``dates``, ``level``, ``sensor``, ``scale``, ``quality``
            stand for the arguments of `open_scene` (several values with ``;`` between them),
            ``id`` names the scene's map in a batch,
            ``place`` joins rows as dates of one scene, ``licence`` is kept;
            a scene, as `open_scene` takes it.
        series: scenes of one grid are dates of one scene.
        most_skipped: the share of scenes that may be left out, 0 to 1.
        progress: is told the share done, 0 to 1.
        reading: of all scenes, as `open_scene`; what a catalogue says of one goes before.

    Raises:
        SceneError: nothing is found, or too much of it cannot be opened.
    """
    entries = list(find_entries([source] if isinstance(source, str | Path) else source))
    if not entries:
        kinds = ", ".join(sorted(RASTERS))
        raise SceneError(
            f"{plain_name(str(source))} holds no scene; needed rasters ({kinds}) or products"
        )
    scenes: list[Scene] = []
    opened: list[Entry] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (entry, scene) in enumerate(
            zip(entries, pool.map(lambda one: _try(one, reading), entries), strict=True), 1
        ):
            if isinstance(scene, Scene):
                scenes.append(scene)
                opened.append(entry)
            else:
                skipped.append(Skipped(entry.name, str(scene)))
            if progress:
                progress(done / len(entries))
    check_skipped(skipped, len(entries), most=most_skipped)
    if series:
        scenes, apart = _as_series(opened, scenes, reading)
        skipped += apart
        check_skipped(apart, len(scenes) + len(apart), most=most_skipped)
    licences = sorted({entry.licence for entry in opened if entry.licence})
    return Opened(tuple(scenes), tuple(skipped), tuple(licences))


def find_entries(sources: Iterable[str | Path], *, items_apart: bool = False) -> Iterator[Entry]:
    """The scenes that folders, lists and catalogues name; no pixel is read.

    Args:
        items_apart: each item of a STAC collection is a scene; else they are dates of one.

    Raises:
        SceneError: a list or a catalogue cannot be read.
    """
    for source in sources:
        path = Path(source)
        if items_apart and is_catalogue(source):
            yield from _of_items(str(source))
        elif is_remote(str(source)):
            yield Entry((str(source),))
        elif path.suffix.lower() in LISTS and path.is_file():
            yield from _joined(_in_list(path))
        elif path.suffix.lower() in CATALOGUES and path.is_file():
            yield from _joined(_in_catalogue(path))
        elif path.is_dir() and not is_array_file(str(path)) and product_of(str(path)) is None:
            yield from _in_folder(path)
        else:
            yield Entry((str(source),))


def _in_folder(folder: Path) -> Iterator[Entry]:
    """Rasters and products in a folder and all those in it, by name."""
    inside = sorted(part for part in folder.iterdir() if not part.name.startswith("."))
    parts: dict[str, list[str]] = {}
    for part in inside:
        product = product_of(str(part))
        if product is not None:
            parts.setdefault(product, []).append(str(part))
        elif part.is_dir() and part.suffix.lower() not in RASTERS:
            yield from _in_folder(part)
        elif part.suffix.lower() in RASTERS:
            yield Entry((str(part),))
    for files in parts.values():
        yield Entry(tuple(files))


def _of_items(source: str) -> Iterator[Entry]:
    for item in list_items(source):
        yield Entry((source,), given_id=str(item.get("id", "")), item=item)


def _in_list(path: Path) -> Iterator[Entry]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} is no list of scenes ({error}); needed a path a line") from error
    for line in lines:
        words = [word.strip() for word in line.split("\t") if word.strip()]
        if words and not words[0].startswith("#"):
            yield Entry(tuple(_beside(path, word) for word in words))


_PATHS = ("path", "image", "scene")
_PLAIN = ("sensor", "level", "quality_codes")
_NUMBERS = ("nodata", "resolution", "ground_size")
_LISTS = ("bands", "dates", "masked_qa")
_FACTORS = ("scale", "offset")


def _in_catalogue(path: Path) -> Iterator[Entry]:
    try:
        rows = read_rows(path)
    except LabelError as error:
        raise SceneError(str(error)) from error
    for number, cells in enumerate(rows, 1):
        row = {name.lower(): text for name, text in cells.items()}
        files = next((row[name] for name in _PATHS if row.get(name)), "")
        if not files:
            raise SceneError(
                f"{path}, row {number} has no path; needed a column path (or image, or scene) with "
                f"the file of each scene; there are {', '.join(cells)}"
            )
        try:
            said = _said(row)
        except ValueError as error:
            raise SceneError(f"{path}, row {number} cannot be read ({error})") from error
        if row.get("quality"):
            said["quality"] = [_beside(path, one) for one in _split(row["quality"])]
        yield Entry(
            tuple(_beside(path, one) for one in _split(files)),
            said,
            row.get("place", ""),
            row.get("licence", "") or row.get("license", ""),
            row.get("id", "") or row.get("name", ""),
        )


def _said(row: Mapping[str, str]) -> dict[str, Any]:
    """A row's arguments of `open_scene`; empty cells say nothing."""
    told = {name: text for name, text in row.items() if text}
    said: dict[str, Any] = {name: told[name] for name in _PLAIN if name in told}
    said |= {name: float(told[name]) for name in _NUMBERS if name in told}
    said |= {name: _split(told[name]) for name in _LISTS if name in told}
    if "date" in told:
        said.setdefault("dates", [told["date"]])
    for name in _FACTORS:
        if name in told:
            numbers = [float(one) for one in _split(told[name])]
            said[name] = numbers[0] if len(numbers) == 1 else numbers
    return said


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _beside(catalogue: Path, path: str) -> str:
    """A path of a catalogue, from the catalogue's own folder."""
    return path if is_remote(path) else str(catalogue.parent / path)


def _joined(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries of one place as dates of one scene, where the first of them stands."""
    places: dict[object, list[Entry]] = {}
    for number, entry in enumerate(entries):
        places.setdefault(entry.place or number, []).append(entry)
    for rows in places.values():
        if len(rows) == 1:
            yield rows[0]
            continue
        said = dict(rows[0].said)
        days = [day for row in rows for day in row.said.get("dates", ())]
        if days:
            said["dates"] = days
        layers = [layer for row in rows for layer in row.said.get("quality", ())]
        if layers:
            said["quality"] = layers
        paths = tuple(path for row in rows for path in row.paths)
        yield replace(rows[0], paths=paths, said=said)


def _try(entry: Entry, reading: Mapping[str, Any]) -> Scene | GeofmError:
    try:
        return open_entry(entry, reading)
    except GeofmError as error:
        return error


def _as_series(
    entries: Sequence[Entry], scenes: Sequence[Scene], reading: Mapping[str, Any]
) -> tuple[list[Scene], list[Skipped]]:
    """Scenes of one grid as dates of one scene, where the first of them stands."""
    places: dict[object, list[int]] = {}
    for number, scene in enumerate(scenes):
        box = scene.geobox
        # A chip without a CRS has the grid of every other chip.
        place = number if box.crs is None else (box.crs.to_wkt(), tuple(box.affine), scene.shape)
        places.setdefault(place, []).append(number)
    found: list[Scene] = []
    apart: list[Skipped] = []
    for at in places.values():
        whole = scenes[at[0]]
        if len(at) > 1:
            joined = _try(_merged([entries[i] for i in at]), reading)
            if not isinstance(joined, Scene):
                apart.append(Skipped(f"{whole.id} and {len(at) - 1} more dates", str(joined)))
                continue
            whole = joined
        found.append(whole)
    return found, apart


def _merged(entries: Sequence[Entry]) -> Entry:
    (merged,) = _joined(Entry(e.paths, e.said, "one", e.licence) for e in entries)
    return merged
