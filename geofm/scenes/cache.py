"""GDAL's block cache, held to a size: it counts in the memory of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import rasterio

CACHE_BYTES = 96 * 2**20


@contextmanager
def source_cache() -> Iterator[None]:
    """Hold GDAL's cache of decoded blocks to `CACHE_BYTES`; its own default is 5 % of the RAM."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        yield
