"""A map's classes as CF flags of an array, and back (CF conventions, 3.5).

``flag_colors`` is what CF has no word for; xarray's other readers leave it alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geofm.tasks import CODE_COLORS, CODE_NAMES, NODATA, UNSURE, MapClass

# Okabe and Ito (2008): the colour-blind can tell them apart.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


def class_flags(task: str, classes: Sequence[MapClass]) -> dict[str, Any]:
    """Attributes of an array of class codes.

    Args:
        task: becomes its ``long_name``.
        classes: in the order of their codes.
    """
    names = {code: kind.name for code, kind in enumerate(classes)} | CODE_NAMES
    colors = {code: kind.color for code, kind in enumerate(classes)} | CODE_COLORS
    return {
        "long_name": task,
        "flag_values": np.array(list(names), np.uint8),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in names.values()),
        "flag_colors": " ".join(colors[code] for code in names),
        "nodata": NODATA,
    }


def flagged_classes(attributes: Mapping[str, Any]) -> dict[int, MapClass] | None:
    """Classes by code, without the codes from 253 on; None where there are no flags.

    Flags that others wrote have no colours, and get some.
    """
    try:
        codes = np.atleast_1d(attributes["flag_values"]).tolist()
        names = attributes["flag_meanings"].split()
        colors = attributes.get("flag_colors", "").split()
        colors = colors or [_COLORS[at % len(_COLORS)] for at in range(len(codes))]
        return {
            int(code): MapClass(name.replace("_", " "), color)
            for code, name, color in zip(codes, names, colors, strict=True)
            if code < UNSURE
        }
    except (KeyError, AttributeError, TypeError, ValueError):
        return None
