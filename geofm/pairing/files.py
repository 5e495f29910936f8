"""Which files make a pair; names only, nothing is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The files of one pair, and what is known of it beside them.

    Attributes:
        name: what messages call it.
        images: paths or addresses that `open_scene` takes as one scene.
        labels: path of a raster, or of polygons or points.
        dates: of the scene, such as ``2020-01-31``; None leaves them to the files.
        group, split, facts: as in `geofm.scenes.catalog.Pair`.
    """

    name: str
    images: tuple[str, ...]
    labels: str
    dates: tuple[str, ...] | None = None
    group: str = ""
    split: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look into folders or a catalogue found.

    Attributes:
        pairs: one or more.
        shared_labels: one file labels all images, and need not touch each of them.
        left_out: sentences on files that belong to no pair.
    """

    pairs: tuple[PairFiles, ...]
    shared_labels: bool = False
    left_out: tuple[str, ...] = ()


def some(names: list[str]) -> str:
    """The first names of many.

    >>> some(["a", "b"]), some(list("abcde"))
    ('a, b', 'a, b, c, ... (5 in all)')
    """
    return (
        ", ".join(names)
        if len(names) <= 3
        else f"{', '.join(names[:3])}, ... ({len(names)} in all)"
    )
