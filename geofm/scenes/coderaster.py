"""A raster of class codes, read back: a map of geofm's, or one as others write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geofm.errors import SceneError
from geofm.scenes.facts import RasterFacts, read_facts, read_window
from geofm.scenes.window import Window
from geofm.tasks import CODE_NAMES, NODATA

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CodeRaster:
    """A raster of class codes, read by windows.

    Attributes:
        nodata: the stored number that means no data.
    """

    path: Path
    facts: RasterFacts
    nodata: int

    @property
    def names(self) -> Mapping[int, str]:
        """Of the classes, by code, without the codes from 253 on; empty where it tells none."""
        return {code: name for code, name in self.facts.categories.items() if self.is_class(code)}

    def is_class(self, code: int) -> bool:
        """Whether a stored number is a class."""
        return code not in CODE_NAMES and code != self.nodata

    def read(self, window: Window) -> Codes:
        """Codes of a window, (height, width) uint8; 255 is no data, whatever the file calls so.

        Raises:
            SceneError: the pixels are damaged.
        """
        codes: Codes = read_window(self.path, window)[0]
        if self.nodata != NODATA:
            codes[codes == self.nodata] = NODATA
        return codes


def open_codes(path: Path) -> CodeRaster:
    """Open a raster of class codes; no pixels are read.

    Raises:
        SceneError: it cannot be read, or is not one band of bytes.
    """
    facts = read_facts(path)
    if facts.count != 1 or facts.dtype != "uint8":
        raise SceneError(
            f"{path} holds {facts.count} bands of {facts.dtype}; needed a map, one band of class "
            "codes from 0 to 252 (uint8); give the OUT.tif of geofm map"
        )
    return CodeRaster(path, facts, NODATA if facts.nodata is None else int(facts.nodata))
