"""Groups of pairs that no split may tear apart, as a table or a fact names them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from geofm.errors import SplitError
from geofm.pairing.files import some
from geofm.pairing.tables import read_rows
from geofm.scenes.catalog import Pair


def with_groups(pairs: Sequence[Pair], source: str) -> list[Pair]:
    """The pairs with their groups.

    Args:
        source: ``FILE:COLUMN``, a table whose column names the group of each pair,
            which another column names; or a fact of all pairs, such as ``event``.

    Raises:
        SplitError: there is no such column or fact, or a pair has no group.
        LabelError: the table cannot be read.
    """
    if all(source in pair.facts for pair in pairs):
        return [replace(pair, group=pair.facts[source]) for pair in pairs]
    path, colon, column = source.rpartition(":")
    if not colon or not path or not column:
        facts = sorted(set.intersection(*(set(pair.facts) for pair in pairs)))
        known = f"a fact of all pairs ({', '.join(facts)}) or " if facts else ""
        raise SplitError(f"groups {source!r}: needed {known}a table as FILE:COLUMN")
    by_name = _groups(Path(path), column, [pair.name for pair in pairs])
    return [replace(pair, group=by_name[pair.name]) for pair in pairs]


def _groups(path: Path, column: str, names: Sequence[str]) -> dict[str, str]:
    rows = read_rows(path)
    if column not in rows[0]:
        raise SplitError(
            f"{path} has no column {column!r}; it has {', '.join(rows[0])}; name one of them"
        )
    keys = {key: _by_key(rows, key, column) for key in rows[0] if key != column}
    best = max(keys, key=lambda key: sum(name in keys[key] for name in names), default=None)
    groups: Mapping[str, str] = keys[best] if best else {}
    missing = [name for name in names if not groups.get(name)]
    if missing:
        raise SplitError(
            f"{path} gives {len(missing)} of {len(names)} pairs no group: {some(missing)}; needed "
            "a row each, with the pair's name in one column and its group in another"
        )
    return {name: groups[name] for name in names}


def _by_key(rows: Sequence[Mapping[str, str]], key: str, column: str) -> dict[str, str]:
    """Group by name; a file name stands for the name without its ending."""
    found = {row[key]: row[column] for row in rows}
    return {Path(name).stem: group for name, group in found.items()} | found
