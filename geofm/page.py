"""A page: labelled rows for people, the same facts for machines, and the words of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from geofm.terminal import Style

Kind = Literal["scene", "map", "batch", "raster", "model", "encoder"]


@dataclass(frozen=True, slots=True)
class Row:
    """A label and what stands beside it; ``color`` (``#rrggbb``) is shown as a swatch."""

    label: str
    text: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to know.

    Attributes:
        rows: for people, in reading order; an empty label continues the row above.
        facts: the same for machines; JSON values only.
        missing: what keeps a scene from being mapped; empty if nothing does.
    """

    kind: Kind
    title: str
    rows: tuple[Row, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""

    def __str__(self) -> str:
        return self.text(Style(colored=False))

    def text(self, style: Style) -> str:
        """The page as lines of text."""
        width = max(len(row.label) for row in self.rows) + 2
        lines = [style.title(f"{self.kind} {self.title}")]
        for row in self.rows:
            swatch = style.swatch(row.color) if row.color else ""
            lines.append(f"  {style.faint(row.label.ljust(width))}{swatch}{row.text}")
        if self.missing:
            lines += ["", f"{style.warn('not ready to map:')} {self.missing}"]
        return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "band"), counted(2500, "band")
    ('1 band', '2,500 bands')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share_text(share: float) -> str:
    """A share of the whole, 0 to 1, in percent; a trace is neither nothing nor all.

    >>> share_text(0.25), share_text(0.0001), share_text(0.9999), share_text(1)
    ('25.0%', '< 0.1%', '> 99.9%', '100.0%')
    """
    if 0 < share < 0.001:
        return "< 0.1%"
    return "> 99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def degrees_text(value: float, letters: str) -> str:
    """Degrees with their side of the Earth.

    >>> degrees_text(-12.5, "EW")
    '12.5000°W'
    """
    return f"{abs(value):.4f}°{letters[0] if value >= 0 else letters[1]}"


def bounds_text(west: float, south: float, east: float, north: float) -> str:
    """A box of longitudes and latitudes."""
    return (
        f"{degrees_text(west, 'EW')} to {degrees_text(east, 'EW')}, "
        f"{degrees_text(south, 'NS')} to {degrees_text(north, 'NS')}"
    )


def time_text(seconds: float) -> str:
    """Seconds as people say them, with two digits that count.

    >>> time_text(0.23), time_text(48.2), time_text(754), time_text(9_300), time_text(400_000)
    ('1 s', '48 s', '13 min', '2 h 35 min', '4 d 15 h')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def bytes_text(count: int) -> str:
    """A file's size.

    >>> bytes_text(812), bytes_text(3_818_237)
    ('812 bytes', '3.6 MiB')
    """
    if count < 1024:
        return f"{count} bytes"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {' KMGT'[power]}iB"


def json_number(value: float | None) -> float | str | None:
    """The value, or its name where JSON has no such number (NaN, infinity)."""
    return str(value) if value is not None and not isfinite(value) else value
