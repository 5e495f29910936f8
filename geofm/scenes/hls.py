"""HLS v2.0 granules (S30 and L30): everything is in their files' names.

https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from geofm.bands import HLS_L30, HLS_S30
from geofm.scenes.products import Layer, Product, base_name, is_reflectance
from geofm.scenes.quality import FMASK

_SCALE, _NODATA = 1e-4, -9999.0
_FILE = re.compile(
    r"^(?P<granule>HLS\.[SL]30\.T\w{5}\.(?P<day>\d{7})T\d{6}\.v2\.0)\.(?P<layer>\w+)\.tif$"
)


def hls_granule(path: str) -> str | None:
    """The granule that a file belongs to, or None if it is no HLS file.

    >>> hls_granule("x/HLS.S30.T13RCN.2024128T173909.v2.0.B8A.tif")
    'HLS.S30.T13RCN.2024128T173909.v2.0'
    """
    match = _FILE.match(base_name(path))
    return match["granule"] if match else None


def read_hls(granule: str, paths: Sequence[str]) -> Product:
    """A granule from its files; those of heat, angles and the like are left out."""
    sensor = HLS_S30 if granule.startswith("HLS.S30") else HLS_L30
    files = {_layer(path): path for path in paths}
    bands = {sensor.common_name(layer): path for layer, path in files.items()}
    return Product(
        id=granule,
        sensor=sensor,
        date=datetime.strptime(granule.split(".")[3][:7], "%Y%j").replace(tzinfo=UTC).date(),
        level="surface",
        layers=tuple(
            Layer(bands[band.name], band.name, _SCALE, 0.0, _NODATA, pixel=30.0)
            for band in sensor.bands
            if band.name in bands and is_reflectance(band.name)
        ),
        quality=((files["Fmask"], FMASK),) if "Fmask" in files else (),
    )


def _layer(path: str) -> str:
    match = _FILE.match(base_name(path))
    assert match is not None, path
    return match["layer"]
