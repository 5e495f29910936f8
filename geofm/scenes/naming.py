"""What names tell: bands from descriptions, dates from file names."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath

from geofm.bands import MEMBERS, SENSORS, SENTINEL_2, Sensor, parse_band
from geofm.errors import BandError, SceneError
from geofm.scenes.header import RasterFile

# The acquisition comes first in the agencies' names, the processing later.
_YEAR = r"(?P<year>(?:19[7-9]|20\d)\d)"
_DATES = (
    re.compile(rf"(?<!\d){_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)"),
    re.compile(rf"(?<!\d){_YEAR}(?P<month>\d\d)(?P<day>\d\d)(?!\d)"),
    re.compile(rf"\.{_YEAR}(?P<doy>\d{{3}})T\d{{6}}(?!\d)"),  # HLS.S30.T13RCN.2024128T173909
    re.compile(rf"^L[A-Z]\d{{7}}{_YEAR}(?P<doy>\d{{3}})[A-Z]{{3}}\d\d"),  # LE70220491999322EDC01
)
_DATED_BAND = re.compile(r"^(\d{4}-\d{2}-\d{2})[_ ](.+)$")


def find_sensor(sensor: str | Sensor | None) -> Sensor | None:
    """The sensor of this name.

    Raises:
        BandError: there is none.
    """
    if sensor is None or isinstance(sensor, Sensor):
        return sensor
    known = (*SENSORS, *MEMBERS)
    named = next((one for one in known if one.name == sensor.lower()), None)
    if named is None:
        names = ", ".join(one.name for one in known)
        raise BandError(f"unknown sensor {sensor!r}; known: {names}")
    return named


def sensor_of(texts: Sequence[str]) -> Sensor | None:
    """Sentinel-2 where B8A is among codes that are all its own; no other code tells a sensor."""
    codes = [text.upper() for text in texts]
    ours = all(SENTINEL_2.common_name(code) for code in codes)
    return SENTINEL_2 if ours and "B8A" in codes else None


def split_date(description: str) -> tuple[date | None, str]:
    """Date and band of a description such as ``2018-04-19_RED``."""
    match = _DATED_BAND.match(description)
    if match is None:
        return None, description
    return date.fromisoformat(match[1]), match[2]


def band_text(file: RasterFile) -> str:
    """The part of a one-band file's name that says which band it is, or ""."""
    parts = re.split(r"[_.\s-]+", PurePosixPath(file.name.replace("\\", "/")).stem)
    return next((part for part in reversed(parts) if _looks_like_band(part)), "")


def _looks_like_band(part: str) -> bool:
    return any(parse_band(part, sensor) for sensor in (None, *SENSORS)) and not part.isdigit()


def date_in_name(path: str) -> date | None:
    """The acquisition date that a file name carries, or None.

    >>> date_in_name("T33UUU_20170216.tif"), date_in_name("HLS.S30.T13RCN.2024128T173909.v2.0.tif")
    (datetime.date(2017, 2, 16), datetime.date(2024, 5, 7))
    """
    name = PurePosixPath(path.replace("\\", "/")).name
    for pattern in _DATES:
        for match in pattern.finditer(name):
            day = _day(match.groupdict())
            if day is not None:
                return day
    return None


def _day(parts: dict[str, str]) -> date | None:
    try:
        if "doy" in parts:
            day = date(int(parts["year"]), 1, 1) + timedelta(days=int(parts["doy"]) - 1)
            return day if day.year == int(parts["year"]) else None
        return date(int(parts["year"]), int(parts["month"]), int(parts["day"]))
    except ValueError:
        return None


def to_date(value: str | date | None) -> date | None:
    """A date as callers and tags give it: a date, a datetime, or ``2020-01-31``.

    Raises:
        SceneError: the text is no date.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise SceneError(f"{value!r} is not a date; needed one such as 2020-01-31") from error
