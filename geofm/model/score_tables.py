"""Scores as tables of a model card and as rows of a page, whatever measured them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Facts of an evaluation that say which model it was of; the card is that model's.
_OWN = {"model", "sha256"}
# Classes are fewer, slices often more: they belong into a table.
_MOST_ROWS = 12


def score_tables(scores: Mapping[str, Any], level: int = 3) -> Iterator[str]:
    """Lines of Markdown: one table of all single numbers, then one a list or group.

    Args:
        scores: JSON values, of any shape; ``{"value": .., "interval": [..]}`` is one number.
        level: of the headings.
    """
    single = {k: v for k, v in scores.items() if k not in _OWN and _is_cell(v)}
    if single:
        yield "| score | |"
        yield "|---|---|"
        for name, value in single.items():
            yield f"| {plain(_title(name))} | {plain(_cell(value))} |"
        yield ""
    names = [c.get("name") for c in scores.get("classes") or () if isinstance(c, dict)]
    for name, value in scores.items():
        if name in _OWN or name in single or not value:
            continue
        yield f"{'#' * level} {plain(_title(name))}"
        yield ""
        match value:
            case dict():
                yield from score_tables(value, min(level + 1, 6))
            case [dict(), *_]:
                yield from _table(value)
                yield ""
            case [[*_], *_]:
                yield from _matrix(value, names)
                yield ""
            case _:
                yield from (f"- {plain(_cell(one))}" for one in value)
                yield ""


def score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """The scores that fit into a line of plain text each, and the names of the others.

    >>> for line in score_lines({"mean_iou": {"value": 0.81, "interval": [0.7, 0.9]},
    ...                          "classes": [{"name": "water", "iou": 0.8}], "notes": ["weak"]}):
    ...     print(line)
    mean IoU 0.810 (0.700 to 0.900)
    water: IoU 0.800
    more on the card, README.md: notes
    >>> list(score_lines({"split": "split by area, blocks", "leakage": {"distance_m": 261400.0}}))
    ['split by area, blocks', 'leakage: distance 261,400 m']
    """
    more = []
    for name, value in scores.items():
        match value:
            case _ if name in _OWN:
                pass
            case _ if _is_cell(value):
                yield _named(name, value)
            case dict() if any(map(_is_cell, value.values())):
                yield f"{_title(name)}: {_cells(value)}"
            case [{"name": _}, *_] if len(value) <= _MOST_ROWS:
                yield from (f"{row.get('name')}: {_cells(row, most=2)}" for row in value)
            case _ if value:
                more.append(_title(name))
            case _:
                pass
    if more:
        yield f"more on the card, README.md: {', '.join(more)}"


def _cells(row: Mapping[str, Any], most: int | None = None) -> str:
    """What fits into a line; the first of a row matter most."""
    names = [name for name, value in row.items() if name != "name" and _is_cell(value)]
    return ", ".join(_named(name, row[name]) for name in names[:most])


def _named(name: object, value: object) -> str:
    """A score with its name; metres behind their number, and no word twice."""
    title, text = _title(name), _cell(value)
    if title.endswith(" m") and isinstance(value, int | float):
        title, text = title.removesuffix(" m"), f"{text} m"
    return text if text.startswith(title) else f"{title} {text}"


def _is_cell(value: object) -> bool:
    """Whether a value fits into a cell of a table."""
    match value:
        case dict():
            return set(value) == {"value", "interval"}
        case [int() | float(), int() | float()]:
            return True
        case list():
            return False
        case _:
            return True


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    yield f"| {' | '.join(plain(_title(name)) for name in names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(plain(_cell(row.get(name))) for name in names)} |"


def _matrix(rows: Sequence[Sequence[Any]], names: Sequence[Any]) -> Iterator[str]:
    """Labels down, the map across."""
    count = max(map(len, rows))
    named = names if len(names) == count else range(count)
    heads = [plain(_cell(name)) for name in named]
    yield f"| labelled, below; mapped, right | {' | '.join(heads)} |"
    yield f"|---|{'---|' * count}"
    for at, row in enumerate(rows):
        yield f"| {heads[at] if at < count else at} | {' | '.join(map(_cell, row))} |"


def _cell(value: object) -> str:
    match value:
        case {"value": number, "interval": interval, **rest} if not rest:
            return _cell(number) + (f" ({_cell(interval)})" if interval else "")
        case [low, high]:
            return f"{_cell(low)} to {_cell(high)}"
        case dict() | list():
            return ", ".join(map(str, value))
        case _:
            return _word(value)


def _word(value: object) -> str:
    match value:
        case None:
            return "–"  # not defined, or not known
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            if abs(value) >= 1000:
                return f"{value:,.0f}"
            return f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"
        case _:
            return str(value)


_WRITTEN = {"iou": "IoU", "f1": "F1", "ece": "ECE", "nll": "NLL"}


def _title(name: object) -> str:
    words = str(name).replace("_", " ").split(" ")
    return " ".join(_WRITTEN.get(word, word) for word in words)


def plain(text: str) -> str:
    """Text that stays text in a Markdown table."""
    return "".join(f"\\{letter}" if letter in "|`*_<>[]\\#" else letter for letter in text)
