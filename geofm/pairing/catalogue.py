"""A catalogue of pairs: a table with a row each.

Columns: ``image`` and ``label`` (needed), ``name``, ``date``, ``group``, ``split``;
all others, such as ``region`` or ``sensor``, become facts by which scores are told
apart. Several images of one scene, and their dates, stand between semicolons. Paths
are relative to the catalogue.
"""

from collections.abc import Mapping
from pathlib import Path

from geofm.errors import LabelError, SplitError
from geofm.pairing.files import Found, PairFiles
from geofm.pairing.tables import read_rows
from geofm.scenes.handles import is_remote

_NAMES = {
    "image": ("image", "images", "scene", "scenes"),
    "label": ("label", "labels", "mask"),
    "name": ("name", "id"),
    "date": ("date", "dates"),
    "group": ("group",),
    "split": ("split",),
}
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "": "",
}


def read_catalogue(path: str | Path) -> Found:
    """The pairs that a catalogue lists.

    Raises:
        LabelError: it cannot be read, lacks a column, or a row lacks an image or label.
        SplitError: a split is none of train, val and test.
    """
    path = Path(path)
    rows = read_rows(path)
    columns = {field: _column(path, rows[0], field) for field in _NAMES}
    pairs = tuple(_pair(path, number, row, columns) for number, row in enumerate(rows, start=1))
    return Found(pairs)


def role_of(text: str, where: str) -> str:
    """The role that a word such as ``validation`` means.

    Raises:
        SplitError: it means none.
    """
    role = _ROLES.get(text.strip().lower())
    if role is None:
        raise SplitError(f"{where}: split {text!r} is unknown; needed train, val or test")
    return role


def _column(path: Path, row: Mapping[str, str], field: str) -> str | None:
    """The table's own name of a column."""
    lower = {name.lower(): name for name in row}
    found = next((lower[name] for name in _NAMES[field] if name in lower), None)
    if found is None and field in {"image", "label"}:
        raise LabelError(
            f"{path} has the columns {', '.join(row)}; needed image and label, the paths of each "
            "pair; add or rename them"
        )
    return found


def _pair(
    path: Path, number: int, row: Mapping[str, str], columns: Mapping[str, str | None]
) -> PairFiles:
    said = {field: row.get(name, "") if name else "" for field, name in columns.items()}
    images = tuple(_resolve(path.parent, part) for part in _parts(said["image"]))
    where = f"{path}, row {number}"
    if not images or not said["label"]:
        missing = "label" if images else "image"
        raise LabelError(f"{where} has no {missing}; give its path, or take the row out")
    facts = {name: text for name, text in row.items() if text and name not in columns.values()}
    return PairFiles(
        name=said["name"] or Path(images[0]).stem,
        images=images,
        labels=_resolve(path.parent, said["label"]),
        dates=_parts(said["date"]) or None,
        group=said["group"],
        split=role_of(said["split"], where),
        facts=facts,
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _resolve(folder: Path, path: str) -> str:
    return path if is_remote(path) or path.startswith("/vsi") else str(folder / path)
