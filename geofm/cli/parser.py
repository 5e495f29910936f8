"""Words typed -> a command and its flags; nothing heavy is imported.

argparse rather than a richer library: with it `geofm --help` answers within
0.05 s of a bare interpreter (promise 9: 0.3 s).
"""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from geofm import __version__
from geofm.cli import pages
from geofm.cli.flags import Command
from geofm.cli.flags_area import AREA
from geofm.cli.flags_batch import BATCH
from geofm.cli.flags_finetune import FINETUNE, LABEL_CURVE
from geofm.cli.flags_look import CHECK, DEMO, DOCTOR, INFO
from geofm.cli.flags_map import MAP
from geofm.cli.flags_pretrain import IMPORT, PRETRAIN
from geofm.cli.flags_score import CALIBRATE, EVALUATE
from geofm.config import Settings, check_keys, fits, read_settings
from geofm.train.config import FinetuneConfig, PretrainConfig

# In the order of a person's first day.
COMMANDS = {
    command.name: command
    for command in (
        *(DEMO, INFO, DOCTOR),
        *(PRETRAIN, IMPORT, CHECK, FINETUNE),
        *(MAP, BATCH),
        *(EVALUATE, CALIBRATE, LABEL_CURVE, AREA),
    )
}


class UsageError(Exception):
    """The words typed make no command; exits with 2."""


class Parser(argparse.ArgumentParser):
    """argparse with our pages, and errors that are raised."""

    def __init__(self, command: Command) -> None:
        super().__init__(prog=f"geofm {command.name}", allow_abbrev=False, add_help=False)
        self.command = command
        # Negative numbers, one a band, are a value and no flag: --offset -0.1,-0.2
        self._negative_number_matcher = re.compile(r"-\.?\d[\d.,e+-]*$")
        for title, add_flags in command.groups:
            add_flags(self.add_argument_group(title))

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting, so that `main` alone prints and exits."""
        raise UsageError(f"{self.prog}: {_plain(message)}; see {self.prog} --help")

    def format_help(self) -> str:
        """The command's page."""
        groups = [(g.title or "", g._group_actions) for g in self._action_groups[2:]]
        return pages.command_page(self.command, groups)

    def flag_names(self) -> list[str]:
        """Every flag, such as ``--bands``."""
        return [name for action in self._actions for name in action.option_strings]


def parse(words: Sequence[str]) -> argparse.Namespace | str:
    """Read a command line.

    Returns:
        The flags, with ``command`` set to the command's name; or a page to
        print, where help or the version was asked for.

    Raises:
        UsageError: no such command or flag, with the nearest one there is; or a
            word is not UTF-8.
    """
    for word in words:
        # Python keeps such bytes of a name as surrogates, which GDAL does not take.
        if not word.isascii() and re.search("[\ud800-\udfff]", word):
            raise UsageError(f"geofm: {word} is not UTF-8; rename the file, or link to it")
    match list(words):
        case [] | ["-h" | "--help" | "help"]:
            return pages.overview(COMMANDS.values())
        case ["--version" | "-V"]:
            return f"geofm {__version__}"
        case ["help", name, *_] if name in COMMANDS:
            return Parser(COMMANDS[name]).format_help()
        case [name, *rest] if name in COMMANDS:
            return _parse_command(Parser(COMMANDS[name]), rest)
        case [name, *_]:
            kind = "flag" if name.startswith("-") else "command"
            known = ["--help", "--version"] if kind == "flag" else list(COMMANDS)
            raise UsageError(f"geofm: no {kind} {name}; {_nearest(name, known)}")
    raise AssertionError(words)


def _parse_command(parser: Parser, words: list[str]) -> argparse.Namespace | str:
    if "-h" in words or "--help" in words:
        return parser.format_help()
    # Unknown flags first: "needs --task" would mislead who typed "--tsak".
    known = parser.flag_names()
    for word in words:
        flag = word.partition("=")[0]
        if re.match("--[a-z]", flag) and flag not in known:
            raise UsageError(f"{parser.prog}: no flag {flag}; {_nearest(flag, known)}")
    more, settings = _from_file(parser, words)
    words = [*more, *words]
    try:
        flags, extra = parser.parse_known_intermixed_args(words)
    except UsageError:
        parser.parse_known_args(words)  # names all that is missing, not only the first
        raise
    if extra:
        parser.error(f"did not expect {' '.join(extra)}")
    flags.command = parser.command.name
    flags.settings = settings
    return flags


def _from_file(parser: Parser, words: list[str]) -> tuple[list[str], Settings]:
    """The words that a file of ``--config`` stands for, and its settings that have no flag.

    The file's words come first, so that what is typed overrides them.

    Raises:
        ConfigError: the file is no TOML, or has a key that is neither.
    """
    path = _config_path(words)
    kind = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}.get(parser.command.name)
    if path is None or kind is None:
        return [], Settings()
    said = read_settings(path)
    actions = {
        action.dest: action for action in parser._actions if action.dest not in _NOT_IN_A_FILE
    }
    fields = {field.name for field in dataclasses.fields(kind)}
    found: list[str] = []
    kept = {}
    check_keys(said.values, fields | set(actions), said)
    for name, value in said.values.items():
        # A table is settings, whatever is wrong in it; a flag beside it takes a word.
        nested = isinstance(value, dict)
        if name in fields and (name not in actions or nested or fits(kind, name, value)):
            kept[name] = value
        else:
            found += _as_words(actions[name], value)
    return found, dataclasses.replace(said, values=kept)


_NOT_IN_A_FILE = ("config", "help", "resume", "overwrite", "json")


def _config_path(words: Sequence[str]) -> str | None:
    for index, word in enumerate(words):
        if word == "--config":
            return words[index + 1] if index + 1 < len(words) else None
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None


def _as_words(action: argparse.Action, value: object) -> list[str]:
    """A key of a file as one would type it."""
    match value:
        case dict():
            text = ",".join(f"{key}={inner}" for key, inner in value.items())
        case list() if not action.option_strings:
            return [str(item) for item in value]
        case list():
            text = ",".join(str(item) for item in value)
        case bool() if action.nargs == 0:
            return list(action.option_strings[-1:]) if value else []
        case _:
            text = str(value)
    return [f"{action.option_strings[-1]}={text}"] if action.option_strings else [text]


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    long = [name for name in known if not re.fullmatch("-.", name)]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(long)}"


def _plain(message: str) -> str:
    """argparse's messages in the house's words."""
    if found := re.fullmatch("the following arguments are required: (.*)", message):
        return f"needs {', '.join(name.split('/')[-1] for name in found[1].split(', '))}"
    if found := re.fullmatch("argument ([^ ]+): (.*)", message):
        return f"{found[1].split('/')[-1]} {_plain_value(found[2])}"
    return message


def _plain_value(message: str) -> str:
    if found := re.match(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
        return f"{found[1]}: choose {found[2].replace(chr(39), '')}"
    if found := re.match(r"invalid \w+ value: '(.*)'", message):
        return f"{found[1]}: write a number"
    return "needs a value" if message.startswith("expected") else message
