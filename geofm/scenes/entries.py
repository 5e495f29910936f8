"""One scene of many: where it lies and what is said of it, before it is opened."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from geofm.errors import GeofmError
from geofm.scenes.discover import is_product, product_of
from geofm.scenes.handles import plain_name
from geofm.scenes.open import open_scene
from geofm.scenes.products import base_name
from geofm.scenes.reader import Scene


@dataclass(frozen=True, slots=True)
class Entry:
    """One scene to open; plain values, which travel to other processes.

    Attributes:
        paths: of its files or products, its dates.
        said: what the catalogue says of it, as the arguments of `open_scene`.
        place: entries of one place are dates of one scene; "" stands alone.
        licence: of its pixels, or "".
        given_id: what the catalogue calls it, or "".
        item: the STAC item that it is, its addresses absolute; None for files.
    """

    paths: tuple[str, ...]
    said: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    licence: str = ""
    given_id: str = ""
    item: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return plain_name(self.paths[0])

    @property
    def id(self) -> str:
        """What its map is named for: what the catalogue calls it, its place, product or file.

        >>> Entry(("a/T33UUU_20170216.tif",)).id, Entry(("S2A_X.SAFE/MTD_MSIL1C.xml",)).id
        ('T33UUU_20170216', 'S2A_X')
        """
        return self.given_id or self.place or _id_of(self.paths[0])


def open_entry(entry: Entry, reading: Mapping[str, Any] | None = None) -> Scene:
    """Open a scene as its catalogue says.

    Args:
        reading: of all scenes, the arguments of `open_scene`; what a catalogue says of
            one goes before.

    Raises:
        GeofmError: as `open_scene`.
    """
    said = {**(reading or {}), **entry.said}
    if entry.item is not None:
        return open_scene(entry.item, **said)
    source = entry.paths[0] if len(entry.paths) == 1 else list(entry.paths)
    if "bands" in said and not is_product(entry.paths[0]):
        return _with_bands(source, said)
    return open_scene(source, **said)


def _with_bands(source: Any, said: Mapping[str, Any]) -> Scene:
    """A raster's bands by its own names where it has them, else in the order that is said."""
    rest = {name: value for name, value in said.items() if name != "bands"}
    try:
        scene = open_scene(source, **rest)
    except GeofmError:
        return open_scene(source, **said)
    wanted = [name for name in said["bands"] if name]
    if all(name in scene.bands for name in wanted):
        return scene.select(bands=wanted)
    return open_scene(source, **said)


def _id_of(path: str) -> str:
    """The name of a product, or of a file without its ending."""
    product = product_of(path)
    if product is None:
        return PurePosixPath(base_name(path)).stem
    if not product.endswith(".xml"):
        return product
    # Metadata in a folder (S2A_X.SAFE, a zip of it, a tile's): the folder has the name.
    folder = PurePosixPath(plain_name(product).replace("\\", "/")).parent.name
    return re.sub(r"\.(SAFE|zip)$", "", folder, flags=re.IGNORECASE)
