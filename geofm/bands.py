"""The vocabulary of bands: STAC common names, and what each sensor calls them.

Common names follow the STAC electro-optical extension v2
(https://github.com/stac-extensions/eo). Centre wavelengths and widths are in
micrometres: Sentinel-2A and 2B from their products' own metadata
(``Spectral_Information``), 2C from ESA's spectral responses of 2024, Landsat
from the USGS band designations.

A sensor that is not here is one value: ``Sensor("mine", (Band("1", "red", 0.66,
0.03), ...))``, given to `open_scene` as ``sensor=``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from geofm.errors import BandError

Level = Literal["toa", "surface", "unknown"]
"""Processing level: top-of-atmosphere or surface reflectance."""

LEVEL_NAMES: dict[Level, str] = {
    "toa": "top-of-atmosphere reflectance",
    "surface": "surface reflectance",
    "unknown": "unknown level",
}


@dataclass(frozen=True, slots=True)
class Band:
    """One spectral band of one sensor.

    Attributes:
        code: the sensor's own name, such as ``B8A``.
        name: the STAC common name, such as ``nir08``.
        center, width: micrometres.
    """

    code: str
    name: str
    center: float
    width: float


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor and its bands, in the agency's order."""

    name: str
    bands: tuple[Band, ...]

    def common_name(self, code: str) -> str | None:
        """The common name of a code such as ``B8A``, ``B02`` or ``b2``; None if not ours."""
        wanted = _plain_code(code)
        return next((b.name for b in self.bands if _plain_code(b.code) == wanted), None)


SENTINEL_2 = Sensor(
    "sentinel-2",
    (
        Band("B01", "coastal", 0.443, 0.020),
        Band("B02", "blue", 0.492, 0.066),
        Band("B03", "green", 0.560, 0.036),
        Band("B04", "red", 0.665, 0.031),
        Band("B05", "rededge071", 0.704, 0.015),
        Band("B06", "rededge075", 0.741, 0.015),
        Band("B07", "rededge078", 0.783, 0.020),
        Band("B08", "nir", 0.833, 0.106),
        Band("B8A", "nir08", 0.865, 0.021),
        Band("B09", "nir09", 0.945, 0.020),
        Band("B10", "cirrus", 1.374, 0.031),
        Band("B11", "swir16", 1.614, 0.091),
        Band("B12", "swir22", 2.202, 0.175),
    ),
)

LANDSAT_8_9 = Sensor(
    "landsat-8-9",
    (
        Band("B1", "coastal", 0.443, 0.016),
        Band("B2", "blue", 0.482, 0.060),
        Band("B3", "green", 0.561, 0.057),
        Band("B4", "red", 0.655, 0.037),
        Band("B5", "nir08", 0.865, 0.028),
        Band("B6", "swir16", 1.609, 0.085),
        Band("B7", "swir22", 2.201, 0.187),
        Band("B8", "pan", 0.590, 0.172),
        Band("B9", "cirrus", 1.373, 0.020),
        Band("B10", "lwir11", 10.895, 0.590),
        Band("B11", "lwir12", 12.005, 1.010),
    ),
)

LANDSAT_4_7 = Sensor(
    "landsat-4-7",
    (
        Band("B1", "blue", 0.485, 0.070),
        Band("B2", "green", 0.560, 0.080),
        Band("B3", "red", 0.660, 0.060),
        # STAC names it nir08, though it is broader than Sentinel-2's B8A.
        Band("B4", "nir08", 0.835, 0.130),
        Band("B5", "swir16", 1.650, 0.200),
        Band("B7", "swir22", 2.220, 0.260),
    ),
)

SENSORS = (SENTINEL_2, LANDSAT_8_9, LANDSAT_4_7)
"""Families: bands of one code and name, near enough for one model."""


def _centred(family: Sensor, name: str, *centers: float) -> Sensor:
    """A member of a family: the same bands around centres of its own, micrometres."""
    return Sensor(
        name,
        tuple(
            replace(band, center=center) for band, center in zip(family.bands, centers, strict=True)
        ),
    )


SENTINEL_2A = _centred(
    SENTINEL_2, "sentinel-2a", 0.4427, 0.4927, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828,
    0.8328, 0.8647, 0.9451, 1.3735, 1.6137, 2.2024,
)  # fmt: skip
SENTINEL_2B = _centred(
    SENTINEL_2, "sentinel-2b", 0.4423, 0.4923, 0.5590, 0.6650, 0.7038, 0.7391, 0.7797,
    0.8330, 0.8640, 0.9432, 1.3769, 1.6104, 2.1857,
)  # fmt: skip
SENTINEL_2C = _centred(
    SENTINEL_2, "sentinel-2c", 0.4442, 0.4890, 0.5606, 0.6665, 0.7071, 0.7411, 0.7847,
    0.8346, 0.8656, 0.9472, 1.3725, 1.6120, 2.1913,
)  # fmt: skip

# HLS keeps the codes of the sensor that looked, with two digits; its L30 has no pan.
HLS_S30 = Sensor("hls-s30", SENTINEL_2.bands)
HLS_L30 = Sensor("hls-l30", tuple(band for band in LANDSAT_8_9.bands if band.name != "pan"))

MEMBERS = (
    SENTINEL_2A,
    SENTINEL_2B,
    SENTINEL_2C,
    HLS_S30,
    HLS_L30,
    *(replace(LANDSAT_4_7, name=f"landsat-{number}") for number in (4, 5, 7)),
    *(replace(LANDSAT_8_9, name=f"landsat-{number}") for number in (8, 9)),
)
"""Single satellites and products, found by name."""

NOT_REFLECTANCE = ("lwir", "lwir11", "lwir12", "vv", "vh")
"""Bands whose numbers are no reflectance: heat and radar."""

COMMON_NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(
        [band.name for sensor in SENSORS for band in sensor.bands]
        + ["yellow", "rededge", "lwir", "vv", "vh"]
    )
)
"""Every band name geofm knows, once each."""

_ALIASES = {
    "rededge1": "rededge071",
    "rededge2": "rededge075",
    "rededge3": "rededge078",
    "nir_narrow": "nir08",
    "narrow_nir": "nir08",
    "nir_broad": "nir",
    "swir1": "swir16",
    "swir_1": "swir16",
    "swir2": "swir22",
    "swir_2": "swir22",
    "coastal_aerosol": "coastal",
    "ultra_blue": "coastal",
    "water_vapor": "nir09",
    "panchromatic": "pan",
}


def parse_band(text: str, sensor: Sensor | None = None) -> str | None:
    """The common name that a band description or code means, or None.

    A code such as ``B05`` means different bands on different sensors, so codes
    are read only where ``sensor`` is given.

    >>> parse_band("SWIR1"), parse_band("B8A", SENTINEL_2), parse_band("B05")
    ('swir16', 'nir08', None)
    """
    plain = text.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in COMMON_NAMES:
        return plain
    if plain in _ALIASES:
        return _ALIASES[plain]
    return sensor.common_name(text) if sensor else None


def check_bands(names: Iterable[str], *, where: str) -> tuple[str, ...]:
    """The names as a tuple, each known and named once.

    Raises:
        BandError: a name is unknown, with the nearest known one, or stands twice.
    """
    bands = tuple(names)
    for name in bands:
        if name not in COMMON_NAMES:
            near = get_close_matches(name, COMMON_NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(COMMON_NAMES)}"
            raise BandError(f"{where}: unknown band {name!r}; {hint}")
    twice = sorted({name for name in bands if bands.count(name) > 1})
    if twice:
        raise BandError(f"{where}: band {', '.join(twice)} is named twice; name each band once")
    if not bands:
        raise BandError(f"{where}: no bands; name at least one of {', '.join(COMMON_NAMES)}")
    return bands


def band_indexes(available: Sequence[str], wanted: Sequence[str], *, where: str) -> list[int]:
    """Positions of ``wanted`` in ``available``, from 0.

    Raises:
        BandError: one is missing.
    """
    missing = [name for name in wanted if name not in available]
    if missing:
        raise BandError(
            f"{where} has {', '.join(available)}; needed {', '.join(missing)} too; "
            "choose a scene with these bands"
        )
    return [list(available).index(name) for name in wanted]


def _plain_code(code: str) -> str:
    """``B02``, ``b2`` and ``2`` are one code; ``B8A`` keeps its letter."""
    return code.strip().upper().removeprefix("B").lstrip("0")
