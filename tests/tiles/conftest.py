"""Scenes and labels held in memory, which note every window that is read."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geofm.scenes.reader import Scene, StoredPixels
from geofm.scenes.window import Window


@dataclass
class ArraySource:
    """A source of arrays dn (T, C, H, W), valid (T, H, W), that counts its reads a pixel."""

    dn: np.ndarray
    valid: np.ndarray
    windows: list[Window] = field(default_factory=list)

    @property
    def dtype(self):
        return self.dn.dtype

    @property
    def block_shape(self):
        return (64, 64)

    @property
    def seen(self):
        """(H, W) bool: pixels read so far."""
        seen = np.zeros(self.dn.shape[-2:], bool)
        for window in self.windows:
            seen[window.slices] = True
        return seen

    def read(self, window, dates, bands):
        self.windows.append(window)
        rows, cols = window.slices
        valid = self.valid[list(dates)][:, rows, cols]
        dn = self.dn[list(dates)][:, list(bands)][:, :, rows, cols]
        return StoredPixels(dn=dn, valid=valid, masked=np.zeros_like(valid))


@dataclass
class ArrayLabels:
    codes: np.ndarray

    def read(self, window):
        return self.codes[window.slices]


@pytest.fixture(scope="session")
def array_scene():
    """Build a scene from ``dn`` (T, C, H, W) and ``valid`` (T, H, W)."""

    def build(dn, valid=None, *, bands=("green", "nir"), scale=1e-4, offset=0.0, crs="EPSG:32633"):
        dates, count, height, width = dn.shape
        valid = np.ones((dates, height, width), bool) if valid is None else valid
        return Scene(
            id="memory",
            bands=tuple(bands[:count]),
            dates=(None,) * dates,
            geobox=GeoBox((height, width), Affine(10, 0, 330000, 0, -10, 5822040), crs),
            level="toa",
            scale=np.full((dates, count), scale, np.float32),
            offset=np.full((dates, count), offset, np.float32),
            source=ArraySource(dn, valid),
        )

    return build


@pytest.fixture(scope="session")
def array_labels():
    return ArrayLabels
