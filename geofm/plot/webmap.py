"""A scene and its map on a page that pans and zooms, in a notebook and offline."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from geofm.export.webmap import MOST_BYTES, check_page_output, web_page, write_web_page
from geofm.plot.sources import check_grid, open_map
from geofm.predict.mapping import MapReport
from geofm.scenes.reader import Scene

if TYPE_CHECKING:
    import xarray as xr

_HEIGHT = 520  # of the frame in a notebook, pixels


@dataclass(frozen=True, slots=True, eq=False)
class SlippyMap:
    """A page that a notebook shows in a frame.

    Attributes:
        html: the whole page; it needs no other file and no network.
    """

    html: str = field(repr=False)

    def save(self, path: str | Path, *, overwrite: bool = True) -> Path:
        """Write the page as a file, whole or not at all.

        Raises:
            OutputError: it is no HTML name, exists, or cannot be written.
        """
        out = Path(path)
        check_page_output(out, overwrite=overwrite)
        return write_web_page(self.html, out).replace(out)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" title="map" '
            f'style="width:100%;height:{_HEIGHT}px;border:1px solid #ccc;border-radius:6px">'
            "</iframe>"
        )


def slippy(
    scene: Scene,
    map: "str | Path | MapReport | xr.Dataset",  # noqa: A002  it is one
    *,
    title: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> SlippyMap:
    """A scene and its map to pan and zoom, with a slider that fades the map.

    Classes can be hidden, and each pixel tells its class and confidence. It works offline;
    ``.save("map.html")`` writes one file for others.

    Args:
        scene: its last date is shown, in true colour where it has the bands.
        map: of this scene; as `geofm.plot.map`.
        title: in place of what the map says of itself.
        most_bytes: of the page; pictures are thinned until it is no larger. A notebook that is
            kept with its pages may want less than 4 MiB.

    Raises:
        GridError: map and scene have other grids, or no place on a web map.
        SceneError: it is no map, or a file cannot be read.

    >>> slippy(opened, "flood.tif").save("flood.html")  # doctest: +SKIP
    """
    opened = open_map(map)
    check_grid(opened.geobox, scene, "map")
    return SlippyMap(
        web_page(
            scene,
            opened.classes,
            opened.codes,
            opened.confidence,
            title=opened.title if title is None else title,
            most_bytes=most_bytes,
        )
    )
