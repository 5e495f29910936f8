"""A small file of classes, as anybody can write it: codes, names, colours.

CSV with a line of headings, or TOML with a table ``[[class]]`` for each:

    code,name,color,stored          [[class]]
    0,bare soil,#c8ad7f,10          code = 0
    1,potatoes,#7b3f00,20 21        name = "bare soil"
                                    color = "#c8ad7f"
                                    stored = [10]

``stored`` says what labels hold for the class, where that is not its code:
one or more numbers or words. Without ``color`` a class gets one of its own.
"""

import csv
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geofm.errors import ConfigError
from geofm.tasks import MapClass, check_classes

# Told apart by colour-blind people too: Okabe and Ito (2008), then lighter.
_PALETTE = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#7f7f7f"),
    *("#f5d28a", "#b3ddf5", "#8fd0bb", "#f9f3ad", "#85b8d9", "#efb48a", "#e8c3d6", "#c4c4c4"),
)
_FIELDS = ("code", "name", "color", "stored")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Legend:
    """Classes, and what labels hold for them.

    Attributes:
        classes: in the order of their codes, from 0.
        stored: what a label file holds -> class code; None where it holds the codes.
    """

    classes: tuple[MapClass, ...]
    stored: Mapping[int | str, int] | None


def read_legend(path: str | Path) -> Legend:
    """Read a legend file, CSV or TOML.

    Raises:
        ConfigError: it cannot be read, codes do not run from 0, a name, colour or
            stored value is missing, wrong or stands twice.
    """
    path = Path(path)
    rows = sorted(_rows(path), key=lambda row: _code(path, row))
    codes = [_code(path, row) for row in rows]
    if codes != list(range(len(codes))):
        raise ConfigError(
            f"{path}: the codes are {', '.join(map(str, codes))}; needed each from 0 to "
            f"{len(codes) - 1} once; number the classes from 0, and give what labels hold as stored"
        )
    classes = tuple(_class(path, code, row) for code, row in enumerate(rows))
    stored: dict[int | str, int] = {}
    for code, row in enumerate(rows):
        for value in _stored(row):
            if stored.setdefault(value, code) != code:
                raise ConfigError(
                    f"{path}: stored value {value} is both {classes[stored[value]].name} and "
                    f"{classes[code].name}; give each value one class"
                )
    if stored and (
        bare := [kind.name for kind, row in zip(classes, rows, strict=True) if not _stored(row)]
    ):
        raise ConfigError(
            f"{path}: {', '.join(bare)} has no stored value, and other classes have; give one for "
            "each class, or for none"
        )
    return Legend(check_classes(classes), stored or None)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = (
            _toml_rows(path, tomllib.loads(text))
            if path.suffix.lower() == ".toml"
            else list(csv.DictReader(text.splitlines(), skipinitialspace=True))
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path} cannot be read as a legend ({reason}); check the file"
        ) from error
    for row in rows:
        stray = [str(key) for key in row if key not in _FIELDS]
        if stray or not {"code", "name"} <= set(row):
            raise ConfigError(
                f"{path} has {', '.join(map(str, row))}; needed code and name, and if you like "
                "color and stored; correct its headings"
            )
    if not rows:
        raise ConfigError(f"{path} names no class; needed a line of code,name for each of two")
    return rows


def _toml_rows(path: Path, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = found.get("class")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} has no table [[class]]; give one for each class")
    return rows


def _code(path: Path, row: Mapping[str, Any]) -> int:
    text = str(row["code"]).strip()
    if not text.isdecimal():
        raise ConfigError(f"{path}: code {text!r} is no whole number from 0; number the classes")
    return int(text)


def _class(path: Path, code: int, row: Mapping[str, Any]) -> MapClass:
    name = str(row["name"] or "").strip()
    color = str(row.get("color") or _PALETTE[code % len(_PALETTE)]).strip()
    if not name:
        raise ConfigError(f"{path}: code {code} has no name; name each class")
    if not _COLOR.fullmatch(color):
        raise ConfigError(f"{path}: the colour of {name} is {color!r}; write it as #1b6b36")
    return MapClass(name, color.lower())


def _stored(row: Mapping[str, Any]) -> Sequence[int | str]:
    """Values between spaces or semicolons; words with spaces go between semicolons, or in TOML."""
    value = row.get("stored")
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        parts = value.split(";") if ";" in value or not _whole(value.split()) else value.split()
        return tuple(_number(part.strip()) for part in parts if part.strip())
    return tuple(value) if isinstance(value, list) else (value,)


def _whole(parts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", part) for part in parts)


def _number(text: str) -> int | str:
    return int(text) if _whole([text]) else text
