"""Colour for people: bold and tinted words on a terminal, plain text elsewhere."""

import os
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Style:
    """Wraps words in terminal codes, or leaves them as they are."""

    colored: bool

    def title(self, text: str) -> str:
        return self._wrap("1", text)

    def name(self, text: str) -> str:
        return self._wrap("36", text)

    def faint(self, text: str) -> str:
        return self._wrap("2", text)

    def good(self, text: str) -> str:
        return self._wrap("32", text)

    def warn(self, text: str) -> str:
        return self._wrap("33", text)

    def bad(self, text: str) -> str:
        return self._wrap("1;31", text)

    def swatch(self, color: str) -> str:
        """Two blocks of a colour ``#rrggbb``; nothing in plain text."""
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return f"\033[48;2;{red};{green};{blue}m  \033[0m " if self.colored else ""

    def _wrap(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colored and text else text


def style_of(stream: TextIO) -> Style:
    """Colour where the stream is a terminal and nobody asked for none (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(wanted and stream.isatty())
