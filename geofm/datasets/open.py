"""Open a benchmark set: fetched if asked, unpacked, paired, split as published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geofm.datasets.archives import archives_in, is_archive, unpack, unpacked
from geofm.datasets.download import Progress, fetch_files, fetch_from_hub
from geofm.datasets.layouts import Bucket, Hub, Layout, chips_in_list, find_chips, find_layout
from geofm.errors import DatasetError, OutputError
from geofm.pairing.files import Found
from geofm.pairing.open import Labelling, Tell, open_found
from geofm.scenes.catalog import Pair

# Says that all was fetched and unpacked, so that nobody needs to be asked again.
_COMPLETE = ".geofm-complete"


def open_dataset(
    name: str,
    root: str | Path,
    *,
    download: bool = False,
    groups: str | None = None,
    ignore_edges: int = 0,
    tell: Tell | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> list[Pair]:
    """Open a published set of labelled chips, with its official splits.

    Args:
        name: ``"sen1floods11"``, ``"hls_burn_scars"`` or ``"multi_temporal_crops"``.
        root: its folder, as unpacked or as fetched.
        download: fetch what is missing from its public home; a fetch that was cut
            off goes on where it ended.
        groups: as `open_pairs`, or a fact of the set: ``"event"`` of floods, ``"tile"``
            of burn scars.
        ignore_edges: as `open_pairs`.
        tell: is told what is missing; a warning by default.
        progress: is told the share fetched, 0 to 1.
        reading: as `open_scene`, in place of what is known of the set.

    Returns:
        Pairs with ``split`` and facts, whose labels are codes of the task's classes.

    Raises:
        DatasetError: the name is unknown, the set is not there or cannot be fetched.
        GeofmError: a chip cannot be opened.
    """
    layout = find_layout(name)
    found = find_dataset(name, root, download=download, progress=progress)
    labelling = Labelling(codes=layout.codes, ignore_edges=ignore_edges)
    said = dataset_reading(layout, reading)
    return open_found(found, labelling, said, groups=groups, tell=tell)


def dataset_reading(layout: Layout, said: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `open_scene`: what is known of the set, then what the user says."""
    return {**layout.reading, **said}


def find_dataset(
    name: str, root: str | Path, *, download: bool = False, progress: Progress | None = None
) -> Found:
    """The files of a set's chips; arguments and errors as `open_dataset`."""
    layout, root = find_layout(name), Path(root)
    if download:
        fetch_dataset(name, root, progress=progress)
    elif root.is_dir():
        packed = [path for path in archives_in(root) if not unpacked(path).exists()]
        if packed:
            raise DatasetError(
                f"{packed[0]} is not unpacked yet; unpack it there, or let --download do it"
            )
    return find_chips(layout, root)


def fetch_dataset(name: str, root: str | Path, *, progress: Progress | None = None) -> None:
    """Fetch what is missing of a set, and unpack it.

    Raises:
        DatasetError, OutputError: it cannot be fetched, unpacked or stored.
    """
    layout, root = find_layout(name), Path(root)
    if (root / _COMPLETE).exists():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{root} cannot be made ({error.strerror}); choose another folder"
        ) from error
    match layout.home:
        case Bucket():
            _fetch_chips(layout.home, root, progress)
        case Hub(repo=repo):
            for path in fetch_from_hub(repo, _choose, root):
                if is_archive(path):
                    unpack(path)
    (root / _COMPLETE).touch()


def _fetch_chips(home: Bucket, root: Path, progress: Progress | None) -> None:
    fetch_files([(home.address + name, root / name) for name in home.lists])
    chips = [
        chip for name in home.lists if name.endswith(".csv") for chip in chips_in_list(root / name)
    ]
    files = [f"{folder}{chip}{ending}" for chip in chips for ending, folder in home.folders.items()]
    fetch_files([(home.address + name, root / name) for name in files], progress=progress)


def _choose(names: Sequence[str]) -> list[str]:
    """The archives where there are any, else the chips; and what says which and when."""
    visible = [name for name in names if not any(part[0] == "." for part in name.split("/"))]
    archived = any(is_archive(Path(name)) for name in visible)
    chips = [name for name in visible if is_archive(Path(name)) or not archived]
    return [name for name in visible if name in chips or name.endswith((".txt", ".csv"))]
