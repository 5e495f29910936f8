"""The help pages: what a command does, flags by purpose, then examples to copy."""

import sys
import textwrap
from argparse import Action
from collections.abc import Iterable, Iterator, Sequence

from geofm import __version__
from geofm.cli.flags import Command
from geofm.cli.words import page_width
from geofm.terminal import Style, style_of

EXIT_CODES = (
    "exit codes: 0 done, 1 the input is at fault, 2 usage, 3 a batch left scenes out, 70 our bug"
)
COLUMN = 26  # where the explanations of flags begin


def overview(commands: Iterable[Command]) -> str:
    """What `geofm --help` prints."""
    style, shown = style_of(sys.stdout), list(commands)
    width = max(len(command.name) for command in shown) + 2
    lines = [
        f"{style.title('geofm')} {__version__}: satellite scenes to maps of floods, "
        "burn scars and crops",
        "",
        *(f"  {style.name(c.name.ljust(width))}{c.summary}" for c in shown),
        "",
        f"Begin with {style.name('geofm demo')}. Each command explains itself: "
        f"{style.name('geofm map --help')}",
        style.faint(EXIT_CODES),
    ]
    return "\n".join(lines)


def command_page(command: Command, groups: Sequence[tuple[str, Sequence[Action]]]) -> str:
    """What `geofm COMMAND --help` prints; a long page ends above the prompt with its examples."""
    style, width = style_of(sys.stdout), page_width()
    lines = textwrap.wrap(command.about, width)
    for title, actions in groups:
        lines += ["", style.title(title)]
        lines += [line for action in actions for line in _flag_lines(action, style, width)]
    lines += ["", style.title("Examples" if len(command.examples) > 1 else "Example")]
    lines += [f"  {style.faint('$')} {style.name(example)}" for example in command.examples]
    return "\n".join(lines)


def _flag_lines(action: Action, style: Style, width: int) -> Iterator[str]:
    names = ", ".join(action.option_strings)
    value = f"{action.metavar or ''}{'...' if action.nargs == '+' else ''}"
    left = f"  {names} {value}".rstrip() if names else f"  {value}"
    colored = left.replace(names or value, style.name(names or value), 1)
    text = textwrap.wrap(action.help or "", width - COLUMN)
    if len(left) < COLUMN - 1:
        yield colored + " " * (COLUMN - len(left)) + text.pop(0)
    else:
        yield colored
    yield from (" " * COLUMN + line for line in text)
