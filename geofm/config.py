"""Settings from a TOML file: ``steps = 2000`` in, a checked dataclass out.

A file may also name what a command reads and writes, such as ``task = "flood"``;
the command line takes those (`geofm.cli.parser`), and its flags override the file.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from geofm.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file says, and where.

    Attributes:
        values: as TOML gives them.
        source: the file's name, for messages.
        text: of the file.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    text: str = ""

    def place(self, keys: tuple[str, ...]) -> str:
        """Where a key stands, such as ``run.toml, line 3: ``; nothing for settings of no file."""
        if not self.source:
            return ""
        line = _line(self.text, keys)
        return f"{self.source}, line {line}: " if line else f"{self.source}: "


def read_config(path: str | Path, kind: type[T]) -> T:
    """Settings of one kind, such as `PretrainConfig`; what a file leaves out keeps its default.

    Raises:
        ConfigError: the file is no TOML, or a key is unknown or has a value out of range.
    """
    return config_of(kind, read_settings(path))


def read_settings(path: str | Path) -> Settings:
    """What a file says, unchecked.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return Settings(tomllib.loads(text), str(path), text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is no TOML ({error}); write lines such as steps = 2000"
        ) from error


def config_of(kind: type[T], settings: Settings, over: Mapping[str, Any] | None = None) -> T:
    """A dataclass from settings.

    Args:
        over: fields that go before the file's; an inner table as a mapping too.

    Raises:
        ConfigError: a key is unknown, or a value is not what its field takes.
    """
    return _built(kind, settings, _merged(settings.values, over or {}), ())


def check_keys(
    found: Iterable[str], known: Iterable[str], settings: Settings, above: tuple[str, ...] = ()
) -> None:
    """Refuse the first key that is not known, naming the nearest that is.

    Raises:
        ConfigError: a key is unknown.
    """
    known = sorted(known)
    for name in found:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            whole = ".".join((*above, name))
            raise ConfigError(f"{settings.place((*above, name))}no setting {whole}; {advice}")


def fits(kind: type, name: str, value: object) -> bool:
    """Whether a dataclass has a field that takes the value."""
    try:
        _value(get_type_hints(kind)[name], Settings(), value, (name,))
    except (KeyError, ConfigError):
        return False
    return True


def _built(
    kind: type[T], settings: Settings, values: Mapping[str, Any], above: tuple[str, ...]
) -> T:
    hints = get_type_hints(kind)
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    check_keys(values, names, settings, above)
    taken = {
        name: _value(hints[name], settings, value, (*above, name)) for name, value in values.items()
    }
    try:
        return kind(**taken)
    except ConfigError as error:
        # Ranges are the dataclass's own, which knows no file.
        start = settings.place((*above, str(error).split(" ", 1)[0]))
        raise ConfigError(f"{start}{error}") from error


def _value(hint: Any, settings: Settings, value: object, keys: tuple[str, ...]) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return _built(hint, settings, value, keys)
    from pydantic import TypeAdapter, ValidationError

    try:
        # As JSON, so that lists become tuples and nothing else changes its type.
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except (ValidationError, TypeError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "needed a value"
        said = said[0].lower() + said[1:]
        raise ConfigError(
            f"{settings.place(keys)}{'.'.join(keys)} is {json.dumps(value, default=str)}; {said}"
        ) from error


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where both say something, the second; tables are merged inside."""
    both = {**low, **high}
    for name in low.keys() & high.keys():
        if isinstance(low[name], Mapping) and isinstance(high[name], Mapping):
            both[name] = _merged(low[name], high[name])
    return both


def _line(text: str, keys: tuple[str, ...]) -> int:
    """The line, from 1, of a key (its tables before it); 0 where it is written another way."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if table == keys:
                return number
        elif found := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            name = tuple(part.strip("\"'") for part in found[1].split("."))
            if (*table, *name) == keys:
                return number
    return 0
