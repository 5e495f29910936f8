"""The words of the command line: lines that fit it, and Python's arguments as flags."""

import re
import shlex
import shutil
import textwrap
from collections.abc import Mapping, Sequence

from geofm.terminal import Style

COLUMN = 12
"""Width of the labels of a page of rows."""


def page_width() -> int:
    """Columns of a page: those of the terminal, within what reads well."""
    return max(60, min(100, shutil.get_terminal_size((88, 24)).columns - 2))


def wrapped(text: str, *, indent: int) -> str:
    """Text in lines of the page's width, all but the first indented."""
    lines = textwrap.wrap(text, page_width() - indent, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


def row_lines(rows: Mapping[str, str], style: Style, *, width: int = COLUMN) -> list[str]:
    """Labels with what stands beside each."""
    return [f"{style.faint(label.ljust(width))}{text}" for label, text in rows.items()]


def typed(words: Sequence[str]) -> str:
    """The command as typed, for receipts, where addresses keep no user, password or signature.

    >>> typed(["map", "a model", "https://me:secret@host/b.tif?sig=abc"])
    "geofm map 'a model' https://host/b.tif"
    """
    from geofm.scenes.handles import plain_name

    address = r"(?i)(/vsi\w+/)?(https?|s3|gs|az)://.*"
    plain = (re.sub(address, lambda found: plain_name(found[0]), word) for word in words)
    return shlex.join(["geofm", *plain])


def as_flags(sentence: str) -> str:
    """One line, with the arguments that Python users are told of as flags.

    >>> as_flags("give scale= (and offset=), such as scale=0.0001")
    'give --scale (and --offset), such as --scale 0.0001'
    >>> as_flags("allow it with --accept resolution=any")
    'allow it with --accept resolution=any'
    >>> as_flags("give resume=True to go on, or restart=True")
    'give --resume to go on, or --overwrite'
    """
    names = {"classes": "codes", "ground_size": "ground-size"}
    sentence = sentence.replace("resume=True", "--resume").replace("restart=True", "--overwrite")
    return re.sub(
        r"(?<!--accept )"
        r"\b(scale|offset|level|nodata|bands|sensor|dates|resolution|ground_size|quality|column"
        r"|classes)="
        r"([\w.+-]*)",
        lambda found: f"--{names.get(found[1], found[1])} {found[2]}".rstrip(),
        " ".join(sentence.split()),
    )
