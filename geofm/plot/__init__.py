"""Pictures of scenes, maps, scores and areas: ``geofm.plot.scene(scene)``.

Each function returns a matplotlib figure that fits a notebook's page, and draws into ``ax``
where that is given. ``slippy`` returns a page that pans and zooms. matplotlib loads when used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geofm.plot.charts import area, confusion, curve, reliability
    from geofm.plot.pictures import compare, confidence, map, scene  # noqa: A004  it is one
    from geofm.plot.rebuilt import reconstructions
    from geofm.plot.webmap import slippy

_ROOMS = {
    "area": "charts",
    "compare": "pictures",
    "confidence": "pictures",
    "confusion": "charts",
    "curve": "charts",
    "map": "pictures",
    "reconstructions": "rebuilt",
    "reliability": "charts",
    "scene": "pictures",
    "slippy": "webmap",
}

__all__ = [
    "area",
    "compare",
    "confidence",
    "confusion",
    "curve",
    "map",
    "reconstructions",
    "reliability",
    "scene",
    "slippy",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f"geofm.plot.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'geofm.plot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
