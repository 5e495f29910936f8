"""Files into one scene: which file and band holds each date and band."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from geofm.bands import SENSORS, Sensor, check_bands, parse_band
from geofm.errors import BandError, SceneError
from geofm.scenes.header import RasterFile
from geofm.scenes.naming import band_text, date_in_name, sensor_of, split_date, to_date
from geofm.scenes.rasters import Slot

DATES_TAG = "GEOFM_DATES"
"""Dataset tag: the dates of a file with several, such as ``2020-01-01,2020-02-01``."""

SKIP = "-"
"""In place of a band name: leave this band out."""

_COLORS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Stack:
    """The dates and bands of a scene, and where each is.

    Attributes:
        bands: C common names.
        dates: T dates.
        slots: (T, C) of `Slot`.
    """

    bands: tuple[str, ...]
    dates: tuple[date | None, ...]
    slots: tuple[tuple[Slot, ...], ...]


def stack_files(
    files: Sequence[RasterFile],
    *,
    bands: Sequence[str | None] | None = None,
    sensor: Sensor | None = None,
    dates: Sequence[str | date | None] | None = None,
) -> Stack:
    """Arrange files as bands of one date, as dates of the same bands, or as both.

    Dates ascend where all are known; else they stand in the order given.

    Args:
        files: one or more.
        bands: names of a file's bands in its order, or of one-band files in
            theirs; ``"-"`` or None leaves a band out.
        sensor: whose codes (``B05``) the names may be.
        dates: one a file, or one a date.

    Raises:
        BandError: bands are unknown, or too few or many.
        SceneError: dates do not fit.
    """
    given = None if dates is None else tuple(to_date(day) for day in dates)
    if bands is None and sensor is None:
        sensor = sensor_of([text for file in files for text in _texts(file)])
    parts = [
        _stack_file(at, file, names, sensor, given if len(files) == 1 else None)
        for at, (file, names) in enumerate(zip(files, _names_by_file(files, bands), strict=True))
    ]
    if len(parts) == 1:
        return _ascending(parts[0])
    if given is not None and len(given) == len(parts):
        parts = [
            Stack(part.bands, (day,) * len(part.dates), part.slots)
            for part, day in zip(parts, given, strict=True)
        ]
    stack = _join(parts, files)
    if given is None:
        _check_once(stack, files)
    if given is not None and len(given) not in {len(parts), len(stack.dates)}:
        raise SceneError(_wrong_dates(files[0], len(stack.dates), len(given)))
    if given is not None and len(given) != len(parts):
        stack = Stack(stack.bands, given, stack.slots)
    return _ascending(stack)


def _check_once(stack: Stack, files: Sequence[RasterFile]) -> None:
    """Each known date comes once; the caller may say otherwise with ``dates``.

    Raises:
        SceneError: two files hold the same bands of one date.
    """
    first: dict[date, int] = {}
    for day, row in zip(stack.dates, stack.slots, strict=True):
        other = first.setdefault(day, row[0].file) if day else row[0].file
        if other != row[0].file:
            raise SceneError(
                f"{files[other].name} and {files[row[0].file].name} hold the same bands of {day}; "
                "needed one file a date; leave one out, or give dates= with one date a file"
            )


def _names_by_file(
    files: Sequence[RasterFile], bands: Sequence[str | None] | None
) -> list[Sequence[str | None] | None]:
    """The caller's names for each file: the same for all, or one for each one-band file."""
    one_each = len(files) > 1 and all(len(file.bands) == 1 for file in files)
    if bands is None or not one_each or len(bands) == 1:
        return [bands] * len(files)
    if len(bands) != len(files):
        raise BandError(
            f"{len(files)} files of one band and {len(bands)} band names were given; "
            "give one name a file"
        )
    return [[name] for name in bands]


def _stack_file(
    at: int,
    file: RasterFile,
    names: Sequence[str | None] | None,
    sensor: Sensor | None,
    given: Sequence[date | None] | None,
) -> Stack:
    """The dates and bands within one file, date-major."""
    dates = _dates_within(file, given)
    each, rest = divmod(len(file.bands), len(dates))
    if rest:
        raise SceneError(
            f"{file.name} has {len(file.bands)} bands for {len(dates)} dates; needed the same "
            "number for each date, one date after the other; check dates="
        )
    if names is not None and len(names) != each:
        raise BandError(
            f"{file.name} has {each} bands{' a date' if len(dates) > 1 else ''}, and "
            f"{len(names)} names were given; name each in order, with {SKIP!r} to leave one out"
        )
    found = _found_bands(file, each, sensor) if names is None else _given_bands(names, sensor)
    bands = check_bands((name for name in found if name), where=file.name)
    kept = [position for position, name in enumerate(found) if name]
    slots = tuple(tuple(Slot(at, t * each + c) for c in kept) for t in range(len(dates)))
    return Stack(bands, dates, slots)


def _dates_within(file: RasterFile, given: Sequence[date | None] | None) -> tuple[date | None, ...]:
    """From the tag, the descriptions, the caller or the file's name."""
    described = [split_date(band.description)[0] for band in file.bands]
    found: tuple[date | None, ...]
    if DATES_TAG in file.tags:
        found = tuple(to_date(text.strip()) for text in file.tags[DATES_TAG].split(","))
    elif all(described):
        found = tuple(dict.fromkeys(described))
    elif given is not None:
        return tuple(given)
    else:
        found = (date_in_name(file.path),)
    if given is not None and len(given) != len(found):
        raise SceneError(_wrong_dates(file, len(found), len(given)))
    return found if given is None else tuple(given)


def _wrong_dates(file: RasterFile, found: int, given: int) -> str:
    return (
        f"{file.name} and what is opened with it hold {found} date{'s' * (found != 1)}, and "
        f"{given} were given; give one for each"
    )


def _given_bands(names: Sequence[str | None], sensor: Sensor | None) -> list[str | None]:
    """The caller's names as common names; unknown ones stay, for `check_bands` to refuse."""
    return [
        None if name is None or name == SKIP else parse_band(name, sensor) or name for name in names
    ]


def _found_bands(file: RasterFile, each: int, sensor: Sensor | None) -> list[str | None]:
    """Common names from descriptions, a one-band file's name, or colours; None if not ours.

    Raises:
        BandError: not one band is known.
    """
    texts = _texts(file)[:each]
    found = [parse_band(text, sensor) for text in texts]
    if any(found):
        return found
    colors = [band.color if band.color in _COLORS else None for band in file.bands[:each]]
    # Writers call any three bands of bytes red, green and blue, unasked.
    if file.dtype.itemsize > 1 and all(colors.count(color) == 1 for color in _COLORS):
        return list(colors)
    raise BandError(_no_bands(file, [text for text in texts if text]))


def _no_bands(file: RasterFile, texts: Sequence[str]) -> str:
    sensors = [s.name for s in SENSORS if any(s.common_name(text) for text in texts)]
    if sensors:
        return (
            f"{file.name} names its bands {', '.join(texts)}, which differ between sensors; "
            f"needed to know whose they are; give sensor= ({' or '.join(sensors)})"
        )
    named = f"names its bands {', '.join(texts)}" if texts else "does not name its bands"
    return (
        f"{file.name} {named}; needed common names such as blue, green, red, nir; give bands= "
        f"with {len(file.bands)} names in the file's order ({SKIP!r} leaves one out)"
    )


def _texts(file: RasterFile) -> list[str]:
    """What each band is called, without a date; for a file of one band, its name may tell."""
    texts = [split_date(band.description)[1] for band in file.bands]
    return texts if any(texts) or len(texts) > 1 else [band_text(file)]


def _join(parts: Sequence[Stack], files: Sequence[RasterFile]) -> Stack:
    """Parts as dates of the same bands, as bands of one date, or as both."""
    if len({frozenset(part.bands) for part in parts}) == 1:
        return _as_dates(parts)
    names = [name for part in parts for name in part.bands]
    if len(set(names)) == len(names):
        return _as_bands(parts, files)
    groups: dict[date | None, list[Stack]] = defaultdict(list)
    for part in parts:
        groups[part.dates[0]].append(part)
    joined = [_as_bands(group, files) for group in groups.values()]
    for day, one in zip(groups, joined, strict=True):
        if day is None or set(one.bands) != set(joined[0].bands):
            raise BandError(
                f"{files[0].name} and what is opened with it do not hold the same bands on each "
                f"date ({day or 'date unknown'}: {', '.join(one.bands)}; "
                f"{joined[0].dates[0]}: {', '.join(joined[0].bands)}); give files of the same "
                "bands, and dates= with one date a file"
            )
    return _as_dates(joined)


def _as_dates(parts: Sequence[Stack]) -> Stack:
    """Dates one after the other, bands in the first part's order."""
    bands = parts[0].bands
    return Stack(
        bands,
        tuple(day for part in parts for day in part.dates),
        tuple(
            tuple(row[part.bands.index(name)] for name in bands)
            for part in parts
            for row in part.slots
        ),
    )


def _as_bands(parts: Sequence[Stack], files: Sequence[RasterFile]) -> Stack:
    """Bands side by side, on one date.

    Raises:
        BandError: a band stands twice.
        SceneError: the parts have different dates.
    """
    dates = {day for part in parts for day in part.dates if day}
    if len(dates) > 1 or any(len(part.dates) > 1 for part in parts):
        raise SceneError(
            f"{files[0].name} and what is opened with it hold different bands on different dates "
            f"({', '.join(map(str, sorted(dates)))}); needed all bands on each date; open each "
            "date with all its bands"
        )
    bands = check_bands((name for part in parts for name in part.bands), where=files[0].name)
    row = tuple(slot for part in parts for slot in part.slots[0])
    return Stack(bands, (next(iter(dates), None),), (row,))


def _ascending(stack: Stack) -> Stack:
    """By date, where all are known: a model of several dates expects them so."""
    if not all(stack.dates):
        return stack
    order = sorted(range(len(stack.dates)), key=lambda t: (stack.dates[t], t))
    return Stack(
        stack.bands,
        tuple(stack.dates[t] for t in order),
        tuple(stack.slots[t] for t in order),
    )
